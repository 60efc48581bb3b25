// Makes a message of the bytes of a request, which anybody may have sent.
#ifndef PHALANX_RPC_READ_MESSAGE_H_
#define PHALANX_RPC_READ_MESSAGE_H_

#include <google/protobuf/message.h>
#include <grpcpp/support/byte_buffer.h>

#include <cstdint>

#include "absl/status/status.h"

namespace phalanx {

// What becomes of fields that a message's type does not know, which a newer sender may have set.
enum class UnknownFields {
  kDrop,
  kRefuse,  // Where an answer without them would be taken for one with them.
};

// Parses `bytes` into `message`. They may be compressed if the server does not decompress by itself
// (see server_setup.h).
//
// The memory that this takes is a small multiple of `max_bytes`: the decompressed bytes may not be
// more than that, and what is built of them not more than twice that (see message_cost.h).
//
// INVALID_ARGUMENT, with a text for the sender, beyond these limits, or if the bytes are not such a
// message: truncated, malformed, or with a string that is not UTF-8; and, naming the first, for
// unknown fields that are to be refused. RESOURCE_EXHAUSTED for a
// buffer without a message, which gRPC gives for one that is larger than the server's limit.
absl::Status ReadMessage(const grpc::ByteBuffer& bytes, int64_t max_bytes,
                         google::protobuf::Message* message,
                         UnknownFields unknown_fields = UnknownFields::kDrop);

}  // namespace phalanx

#endif  // PHALANX_RPC_READ_MESSAGE_H_
