// The calls with one answer: their counting, refusing and finishing.
#ifndef PHALANX_COORDINATOR_SERVER_UNARY_CALL_H_
#define PHALANX_COORDINATOR_SERVER_UNARY_CALL_H_

#include <grpcpp/server_context.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <functional>
#include <optional>

#include "absl/status/status.h"
#include "coordinator/admission/request_gate.h"
#include "coordinator/server/serving_environment.h"

namespace phalanx {

// Deletes itself when gRPC is done with it.
class UnaryCall final : public grpc::ServerUnaryReactor {
 public:
  // Fills in the response, or says what is wrong.
  using Work = std::function<absl::Status(grpc::ByteBuffer* response)>;

  // `method` must be a literal: it is the metric's label. `response` is gRPC's and valid until the
  // call is finished.
  UnaryCall(const ServingEnvironment* environment, const char* method,
            grpc::CallbackServerContext* context, grpc::ByteBuffer* response);

  // Runs `work` here, for what takes microseconds, or not at all if `checked` is not OK. One of the
  // two Run methods is called, once.
  grpc::ServerUnaryReactor* RunHere(const absl::Status& checked, const Work& work);

  // Runs `work` on the text pool, if `checked` is OK and the gate and the pool have room.
  grpc::ServerUnaryReactor* RunOnTextPool(const absl::Status& checked, Work work);

 private:
  absl::Status Queue(const absl::Status& checked, Work work);
  void End(const absl::Status& status);
  void OnDone() override { delete this; }

  const ServingEnvironment& environment_;
  const char* const method_;
  grpc::CallbackServerContext* const context_;
  grpc::ByteBuffer* const response_;
  std::optional<RequestGate::Ticket> ticket_;
};

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_SERVER_UNARY_CALL_H_
