// Checks JSON texts of callers.
#ifndef PHALANX_COORDINATOR_ADMISSION_JSON_OBJECT_H_
#define PHALANX_COORDINATOR_ADMISSION_JSON_OBJECT_H_

#include <string>

#include "absl/strings/string_view.h"

namespace phalanx {

// Nesting of a text that is accepted.
inline constexpr int kMaxJsonDepth = 64;

// Empty if the whole of `json`, UTF-8, is the text of one JSON object that can be kept exactly:
// nested at most kMaxJsonDepth deep, and its integers are at least -2^63 and below 2^64. Else what
// is wrong, for a message. Takes time in proportion to the text and no memory beyond its longest
// string.
std::string FindJsonObjectProblem(absl::string_view json);

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_ADMISSION_JSON_OBJECT_H_
