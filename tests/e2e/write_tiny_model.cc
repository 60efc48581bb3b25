// Writes the tiny test model to the path given: for tests that need a model, not its answers.
#include <fstream>
#include <iostream>

#include "model/testing/tiny_model.h"

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: write_tiny_model PATH\n";
    return 2;
  }
  phalanx::TinyModelOptions options;
  // Room for answers that are still going on when a test breaks something.
  options.context_tokens = 16384;
  std::ofstream file(argv[1], std::ios::binary);
  file << phalanx::TinyModel(options).Finish();
  file.close();
  return file.fail() ? 1 : 0;
}
