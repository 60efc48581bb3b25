// The names of requests, and seeds that nobody can guess or repeat.
#ifndef PHALANX_COORDINATOR_SERVER_REQUEST_ID_H_
#define PHALANX_COORDINATOR_SERVER_REQUEST_ID_H_

#include <grpcpp/server_context.h>

#include <cstdint>
#include <string>

#include "absl/status/status.h"

namespace phalanx {

// 64 random bits from the operating system. Thread-safe.
uint64_t RandomBits64();

// 128 random bits as 32 hexadecimal digits.
std::string MakeRequestId();

// The metadata that holds a request's id, from the caller and to it.
inline constexpr char kRequestIdMetadata[] = "x-request-id";

struct RequestId {
  // The caller's id, or one made by MakeRequestId if the caller gave none that can be used.
  std::string text;
  // INVALID_ARGUMENT, noted as a refusal, if the caller gave one that cannot be used.
  absl::Status status;
};

// The id of a call: what the caller gave in its metadata, once, 1 to 128 visible ASCII characters.
RequestId RequestIdOf(const grpc::CallbackServerContext& context);

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_SERVER_REQUEST_ID_H_
