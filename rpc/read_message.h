// From the bytes of a request, which a stranger made, to a message.
#ifndef PHALANX_RPC_READ_MESSAGE_H_
#define PHALANX_RPC_READ_MESSAGE_H_

#include <google/protobuf/message.h>
#include <grpcpp/support/byte_buffer.h>

#include <cstdint>

#include "absl/status/status.h"

namespace phalanx {

// Parses `bytes`, which may be compressed if the server does not decompress by itself (see
// server_setup.h), into `message`. Unknown fields are dropped.
//
// What is taken in memory is a small multiple of `max_bytes`, compressed or not: neither the
// decompressed bytes may be more than that, nor what is built of them more than twice that (see
// message_cost.h). INVALID_ARGUMENT, for the sender, beyond these limits, or if the bytes are no
// such message: truncated, malformed, or with a string that is not UTF-8. RESOURCE_EXHAUSTED for a
// buffer without a message, which gRPC gives for one that is larger than the server's limit.
absl::Status ReadMessage(const grpc::ByteBuffer& bytes, int64_t max_bytes,
                         google::protobuf::Message* message);

}  // namespace phalanx

#endif  // PHALANX_RPC_READ_MESSAGE_H_
