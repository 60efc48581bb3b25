// How errors about a field of a request are written.
#ifndef PHALANX_COORDINATOR_ADMISSION_FIELD_ERROR_H_
#define PHALANX_COORDINATOR_ADMISSION_FIELD_ERROR_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "coordinator/admission/limits.h"

namespace phalanx {

// INVALID_ARGUMENT: "field: problem".
absl::Status Invalid(absl::string_view field, absl::string_view problem);

// A caller's bytes for a message: the first of them, printable.
std::string Quoted(absl::string_view text);

// Of `bytes`, the text of a request, all of it in `field`.
absl::Status CheckPromptBytes(absl::string_view field, int64_t bytes, const RequestLimits& limits);

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_ADMISSION_FIELD_ERROR_H_
