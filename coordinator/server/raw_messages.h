// Converts messages and deadlines between gRPC's types and ours.
//
// Methods take raw bytes, because gRPC 1.51 parses messages of generated methods itself and answers
// bytes that are not a message with UNIMPLEMENTED.
#ifndef PHALANX_COORDINATOR_SERVER_RAW_MESSAGES_H_
#define PHALANX_COORDINATOR_SERVER_RAW_MESSAGES_H_

#include <google/protobuf/message.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/byte_buffer.h>

#include <cstdint>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "rpc/read_message.h"

namespace phalanx {

// As ReadMessage (rpc/read_message.h), with its errors noted as refusals.
absl::Status ReadRequest(const grpc::ByteBuffer& bytes, int64_t max_bytes,
                         google::protobuf::Message* request,
                         UnknownFields unknown_fields = UnknownFields::kDrop);

grpc::ByteBuffer SerializeMessage(const google::protobuf::Message& message);

// Time until the caller's deadline: infinite without one, negative if it has passed.
absl::Duration TimeToDeadline(const grpc::CallbackServerContext& context);

// Why gRPC cancelled a call that arrived at `arrived_at`: DEADLINE_EXCEEDED or CANCELLED.
// `deadline` is infinitely far if the call has none.
absl::Status WhyCancelled(absl::Time arrived_at, absl::Time deadline, absl::Time now);

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_SERVER_RAW_MESSAGES_H_
