// Finds what nlohmann's parser takes for JSON although it is not. Whoever parses a text with it
// asks here first.
#ifndef PHALANX_BASE_JSON_TEXT_H_
#define PHALANX_BASE_JSON_TEXT_H_

#include <cstddef>
#include <optional>

#include "absl/strings/string_view.h"

namespace phalanx {

struct JsonTextProblem {
  size_t byte = 0;
  // For messages: "a NUL byte ...".
  absl::string_view what;
};

// Finds a byte order mark at the beginning, which the parser would skip, or the first NUL byte,
// which it would take for the end of the text. Neither is allowed anywhere in a JSON text (inside
// of a string, NUL is written \u0000). Takes no memory.
std::optional<JsonTextProblem> FindJsonTextProblem(absl::string_view text);

}  // namespace phalanx

#endif  // PHALANX_BASE_JSON_TEXT_H_
