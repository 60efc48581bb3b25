#include "coordinator/server/raw_messages.h"

#include <grpc/support/time.h>

#include <utility>

#include "coordinator/admission/refusal.h"

namespace phalanx {

absl::Status ReadRequest(const grpc::ByteBuffer& bytes, int64_t max_bytes,
                         google::protobuf::Message* request, UnknownFields unknown_fields) {
  absl::Status status = ReadMessage(bytes, max_bytes, request, unknown_fields);
  const bool is_large =
      absl::IsResourceExhausted(status) || static_cast<int64_t>(bytes.Length()) > max_bytes;
  return Refused(is_large ? RefusalKind::kTooLarge : RefusalKind::kMalformed, std::move(status));
}

grpc::ByteBuffer SerializeMessage(const google::protobuf::Message& message) {
  // Written straight into gRPC's memory, so that the bytes are not copied. ByteSizeLong also leaves
  // the sizes that the next call needs.
  grpc::Slice slice(message.ByteSizeLong());
  message.SerializeWithCachedSizesToArray(const_cast<uint8_t*>(slice.begin()));
  return grpc::ByteBuffer(&slice, 1);
}

absl::Duration TimeToDeadline(const grpc::CallbackServerContext& context) {
  const gpr_timespec deadline = context.raw_deadline();
  if (gpr_time_cmp(deadline, gpr_inf_future(deadline.clock_type)) == 0) {
    return absl::InfiniteDuration();
  }
  // By gRPC's own clock: the deadline is a time of that one.
  const gpr_timespec left = gpr_time_sub(deadline, gpr_now(deadline.clock_type));
  return absl::Seconds(left.tv_sec) + absl::Nanoseconds(left.tv_nsec);
}

absl::Status WhyCancelled(absl::Time arrived_at, absl::Time deadline, absl::Time now) {
  if (deadline == absl::InfiniteFuture()) {
    return absl::CancelledError("the client cancelled or went away");
  }
  // gRPC tells a cancellation and a deadline apart only by the time. A deadline may seem to come
  // early: the client's own timer may have cancelled the call, and the timeout that it sent was
  // rounded up, by at most 1 %.
  const absl::Duration rounding = absl::Milliseconds(10) + (deadline - arrived_at) / 100;
  return deadline - now <= rounding ? absl::DeadlineExceededError("the deadline passed")
                                    : absl::CancelledError("the client cancelled or went away");
}

}  // namespace phalanx
