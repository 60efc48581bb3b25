#include "base/json_text.h"

#include "absl/strings/match.h"

namespace phalanx {

std::optional<JsonTextProblem> FindJsonTextProblem(absl::string_view text) {
  if (absl::StartsWith(text, "\xef\xbb\xbf")) {
    return JsonTextProblem{0, "a byte order mark, which JSON does not allow"};
  }
  const size_t nul = text.find('\0');
  if (nul == absl::string_view::npos) return std::nullopt;
  return JsonTextProblem{nul, "a NUL byte, which JSON does not allow"};
}

}  // namespace phalanx
