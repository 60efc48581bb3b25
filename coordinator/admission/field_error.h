// How errors about a field of a request are written.
#ifndef PHALANX_COORDINATOR_ADMISSION_FIELD_ERROR_H_
#define PHALANX_COORDINATOR_ADMISSION_FIELD_ERROR_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "coordinator/admission/limits.h"
#include "coordinator/admission/refusal.h"

namespace phalanx {

// A refusal of that kind: INVALID_ARGUMENT, "field: problem".
absl::Status Invalid(RefusalKind kind, absl::string_view field, absl::string_view problem);

// A caller's bytes for a message: the first of them, printable.
std::string Quoted(absl::string_view text);

// Refuses a request whose text, all of which is in `field`, has more bytes than are allowed.
absl::Status CheckPromptBytes(absl::string_view field, int64_t bytes, const RequestLimits& limits);

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_ADMISSION_FIELD_ERROR_H_
