#include "client/json_line.h"

#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"

namespace phalanx {

std::string JsonLine(const Json& json) {
  return json.dump(/*indent=*/-1, /*indent_char=*/' ', /*ensure_ascii=*/false,
                   Json::error_handler_t::replace);
}

Json JsonNumber(float value) {
  double shortest = value;
  if (absl::SimpleAtod(absl::StrFormat("%.7g", value), &shortest) &&
      static_cast<float>(shortest) == value) {
    return shortest;
  }
  return value;
}

}  // namespace phalanx
