// What a client is told of a call that failed: docs/api.md lists it.
#ifndef PHALANX_COORDINATOR_SERVER_ERROR_DETAILS_H_
#define PHALANX_COORDINATOR_SERVER_ERROR_DETAILS_H_

#include <grpcpp/server_context.h>
#include <grpcpp/support/status.h>

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace phalanx {

// The domain of all reasons.
inline constexpr char kErrorDomain[] = "phalanx";

// The reason of a status that is not OK, as ErrorInfo has it: the kind of a refusal in upper case,
// "OUT_OF_RANGE"; else INTERRUPTED for UNAVAILABLE, which is then the loss of an answer under way;
// else the name of the code.
std::string ErrorReason(const absl::Status& status);

// The path of the field that an error is about, which stands at the beginning of its message:
// "stop[3]" of "stop[3]: length: 0 is not in [1, 256]". Empty if there is none.
absl::string_view FieldOf(const absl::Status& status);

// How long the caller should wait before he tries again, if that may help: what WithRetryAfter
// noted, else about a second for RESOURCE_EXHAUSTED. Partly random, so that callers that were
// refused together do not return together.
std::optional<absl::Duration> RetryDelay(const absl::Status& status);

// The status that the client gets, with google.rpc details: ErrorInfo and RequestInfo, BadRequest
// for an error of a field, RetryInfo where there is a retry delay. A message of more than 1 KiB is
// cut, since clients take only a few KiB of metadata. Tells `context` what else goes to the client
// with the status: x-request-id, and the retry delay as grpc-retry-pushback-ms (gRFC A6). To be
// called once, just before the call is finished with the result.
// `tokens_sent` is how many tokens of an answer the client has been sent before, if it was one that
// had begun.
grpc::Status StatusForClient(const absl::Status& status, const std::string& request_id,
                             const std::string& model, grpc::CallbackServerContext* context,
                             std::optional<int> tokens_sent = std::nullopt);

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_SERVER_ERROR_DETAILS_H_
