// Messages, statuses and deadlines between gRPC's types and ours.
//
// Methods take raw bytes: with generated ones, gRPC 1.51 answers bytes that are no message with
// UNIMPLEMENTED.
#ifndef PHALANX_COORDINATOR_SERVER_RAW_MESSAGES_H_
#define PHALANX_COORDINATOR_SERVER_RAW_MESSAGES_H_

#include <google/protobuf/message.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/status.h>

#include <cstdint>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace phalanx {

// As ReadMessage (rpc/read_message.h), with its errors noted as refusals.
absl::Status ReadRequest(const grpc::ByteBuffer& bytes, int64_t max_bytes,
                         google::protobuf::Message* request);

grpc::ByteBuffer SerializeMessage(const google::protobuf::Message& message);

grpc::Status ToGrpcStatus(const absl::Status& status);

// Time until the caller's deadline: infinite without one, negative if it has passed.
absl::Duration TimeToDeadline(const grpc::CallbackServerContext& context);

// Why gRPC cancelled a call that arrived at `arrived_at`: DEADLINE_EXCEEDED or CANCELLED. The
// deadline is infinitely far if there is none.
absl::Status WhyCancelled(absl::Time arrived_at, absl::Time deadline, absl::Time now);

// Tells the client by trailing metadata (grpc-retry-pushback-ms, gRFC A6) when to come back: in
// about a second, at random so that refused clients do not return together. To be called before the
// call is finished, for RESOURCE_EXHAUSTED.
void AddRetryHint(grpc::CallbackServerContext* context);

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_SERVER_RAW_MESSAGES_H_
