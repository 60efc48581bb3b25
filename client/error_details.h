// The google.rpc details of a call's error, as docs/api.md lists them.
#ifndef PHALANX_CLIENT_ERROR_DETAILS_H_
#define PHALANX_CLIENT_ERROR_DETAILS_H_

#include <grpcpp/support/status.h>

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace phalanx {

// The same status; each detail is a payload of it, under the URL of its type. Details that are no
// google.rpc.Status are left out.
absl::Status StatusFromGrpc(const grpc::Status& status);

// What is unknown is empty.
struct ErrorDetails {
  // "OUT_OF_RANGE".
  std::string reason;
  // The path of the field that is wrong, "chat.messages[2].role".
  std::string field;
  std::optional<absl::Duration> retry_delay;
  std::string request_id;
};

// What the payloads of a status say that StatusFromGrpc returned.
ErrorDetails DetailsOf(const absl::Status& status);

}  // namespace phalanx

#endif  // PHALANX_CLIENT_ERROR_DETAILS_H_
