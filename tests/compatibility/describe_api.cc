// Prints the lines of the public API, for tests/compatibility/api.txt.
#include <iostream>
#include <string>

#include "phalanx/v1/inference.pb.h"
#include "tests/compatibility/api_lines.h"

int main() {
  const auto& file = *phalanx::v1::GenerateRequest::descriptor()->file();
  for (const std::string& line : phalanx::ApiLines(file)) std::cout << line << "\n";
  return 0;
}
