// Checks what an answer has to follow, as far as the coordinator can: the worker group compiles it.
#ifndef PHALANX_COORDINATOR_ADMISSION_VALIDATE_CONSTRAINT_H_
#define PHALANX_COORDINATOR_ADMISSION_VALIDATE_CONSTRAINT_H_

#include <string>

#include "absl/status/status.h"
#include "phalanx/v1/inference.pb.h"

namespace phalanx {

// INVALID_ARGUMENT, as validate.h has it, if request.constraint is there and has no kind, is empty
// or too large, or cannot be together with other fields.
absl::Status ValidateConstraint(const v1::GenerateRequest& request);

// The choices as a JSON array, the form in which worker groups take them.
std::string ChoicesText(const v1::Choices& choices);

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_ADMISSION_VALIDATE_CONSTRAINT_H_
