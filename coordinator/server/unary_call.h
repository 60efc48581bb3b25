// The calls with one answer: their counting, refusing and finishing.
#ifndef PHALANX_COORDINATOR_SERVER_UNARY_CALL_H_
#define PHALANX_COORDINATOR_SERVER_UNARY_CALL_H_

#include <grpcpp/server_context.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "coordinator/admission/request_gate.h"
#include "coordinator/server/serving_environment.h"

namespace phalanx {

// Deletes itself when gRPC is done with it.
class UnaryCall final : public grpc::ServerUnaryReactor {
 public:
  // Fills in the response, or says what is wrong. May end early once `cancelled` is set.
  using Work =
      std::function<absl::Status(const std::atomic<bool>& cancelled, grpc::ByteBuffer* response)>;

  // `method` must be a literal: it is the metric's label. `response` is gRPC's and valid until the
  // call is finished.
  UnaryCall(const ServingEnvironment* environment, const char* method,
            grpc::CallbackServerContext* context, grpc::ByteBuffer* response);

  // Runs `work` here, for what takes microseconds, or not at all if `checked` is not OK. One of the
  // two Run methods is called, once.
  grpc::ServerUnaryReactor* RunHere(const absl::Status& checked, const Work& work);

  // Runs `work`, on `bytes` of text, on the text pool, if `checked` is OK and the gate and the pool
  // have room. A call that is cancelled, or expires, before a thread takes it costs no work.
  grpc::ServerUnaryReactor* RunOnTextPool(const absl::Status& checked, int64_t bytes, Work work);

 private:
  absl::Status Queue(const absl::Status& checked, int64_t bytes, Work work);
  // Once, by whoever has the work: the pool's thread, or who took it out of the pool's queue.
  void End(const absl::Status& status);
  void OnCancel() override;
  void OnDone() override { delete this; }

  const ServingEnvironment& environment_;
  const char* const method_;
  grpc::CallbackServerContext* const context_;
  grpc::ByteBuffer* const response_;
  const absl::Time arrived_at_;
  const absl::Time deadline_;
  std::optional<RequestGate::Ticket> ticket_;
  std::atomic<bool> cancelled_ = false;
};

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_SERVER_UNARY_CALL_H_
