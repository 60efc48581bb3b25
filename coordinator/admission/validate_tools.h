// Checks what a request asks of tool calls: the part of validate.h for `parse_tool_calls` and
// `tool_choice`, under the same rules.
#ifndef PHALANX_COORDINATOR_ADMISSION_VALIDATE_TOOLS_H_
#define PHALANX_COORDINATOR_ADMISSION_VALIDATE_TOOLS_H_

#include "absl/status/status.h"
#include "coordinator/admission/limits.h"
#include "phalanx/v1/inference.pb.h"

namespace phalanx {

// The request's tools must have been checked.
absl::Status ValidateToolUse(const v1::GenerateRequest& request, const RequestLimits& limits);

// Whether the model is not to know of the request's tools.
bool ForbidsTools(const v1::GenerateRequest& request);

// Whether the model must call a tool.
bool ForcesToolCall(const v1::GenerateRequest& request);

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_ADMISSION_VALIDATE_TOOLS_H_
