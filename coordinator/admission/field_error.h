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

// The first of a caller's bytes, printable and in quotes, for a message.
std::string Quoted(absl::string_view text);

// Refuses a request, naming `field`, if the texts in `field` have more bytes together (`bytes`)
// than a request may have.
absl::Status CheckPromptBytes(absl::string_view field, int64_t bytes, const RequestLimits& limits);

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_ADMISSION_FIELD_ERROR_H_
