// A call with one answer: how it is refused, run, counted and answered.
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
#include "coordinator/server/request_id.h"
#include "coordinator/server/serving_environment.h"

namespace phalanx {

// Deletes itself when gRPC is done with it.
class UnaryCall final : public grpc::ServerUnaryReactor {
 public:
  // Fills in the response, or returns an error. May break off once `cancelled` is set.
  using Work =
      std::function<absl::Status(const std::atomic<bool>& cancelled, grpc::ByteBuffer* response)>;

  // `method` must be a literal: it is the metric's label. `response` is gRPC's, and valid until the
  // status has been sent.
  UnaryCall(const ServingEnvironment* environment, const char* method,
            grpc::CallbackServerContext* context, grpc::ByteBuffer* response);

  // RunHere or RunOnTextPool is called, once. This one runs `work` on the calling thread, so that
  // it may take microseconds only. If `checked` is not OK it ends the call with that instead.
  grpc::ServerUnaryReactor* RunHere(const absl::Status& checked, const Work& work);

  // Runs `work`, on `bytes` of text, on the text pool, if `checked` is OK and the gate and the pool
  // have room. A call that is cancelled, or expires, before a thread takes it costs no work.
  grpc::ServerUnaryReactor* RunOnTextPool(const absl::Status& checked, int64_t bytes, Work work);

 private:
  absl::Status Queue(const absl::Status& checked, int64_t bytes, Work work);
  // Called once: by RunHere, by the pool's thread that has run the work, or by the thread that took
  // the work out of the pool's queue or could not put it in.
  void End(const absl::Status& status);
  void OnCancel() override;
  void OnDone() override { delete this; }

  const ServingEnvironment& environment_;
  const RequestId id_;
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
