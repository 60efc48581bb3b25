// Checks conversations: the part of validate.h for `chat`, under the same rules.
#ifndef PHALANX_COORDINATOR_ADMISSION_VALIDATE_CHAT_H_
#define PHALANX_COORDINATOR_ADMISSION_VALIDATE_CHAT_H_

#include "absl/status/status.h"
#include "coordinator/admission/limits.h"
#include "phalanx/v1/inference.pb.h"

namespace phalanx {

// Checks everything that does not depend on the model's template.
absl::Status ValidateChat(const v1::Chat& chat, const RequestLimits& limits);

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_ADMISSION_VALIDATE_CHAT_H_
