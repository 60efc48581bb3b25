// Checks JSON texts of callers.
#ifndef PHALANX_COORDINATOR_ADMISSION_JSON_OBJECT_H_
#define PHALANX_COORDINATOR_ADMISSION_JSON_OBJECT_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace phalanx {

// How deep an accepted text may be nested.
inline constexpr int kMaxJsonDepth = 64;

// Tells what is wrong with `json`, for a message. Empty if all of it, as UTF-8, is one JSON object
// that can be kept exactly: nested at most kMaxJsonDepth deep, and with integers of at least -2^63
// and below 2^64. Takes time in proportion to the text, and no memory beyond its longest string.
std::string FindJsonObjectProblem(absl::string_view json);

// The names of the outermost object of a text in which FindJsonObjectProblem found none, in order.
std::vector<std::string> JsonObjectNames(absl::string_view json);

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_ADMISSION_JSON_OBJECT_H_
