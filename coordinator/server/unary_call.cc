#include "coordinator/server/unary_call.h"

#include <utility>

#include "absl/strings/escaping.h"
#include "base/log.h"
#include "base/status.h"
#include "coordinator/server/raw_messages.h"

namespace phalanx {

UnaryCall::UnaryCall(const ServingEnvironment* environment, const char* method,
                     grpc::CallbackServerContext* context, grpc::ByteBuffer* response)
    : environment_(*environment), method_(method), context_(context), response_(response) {}

grpc::ServerUnaryReactor* UnaryCall::RunHere(const absl::Status& checked, const Work& work) {
  End(checked.ok() ? work(response_) : checked);
  return this;
}

grpc::ServerUnaryReactor* UnaryCall::RunOnTextPool(const absl::Status& checked, Work work) {
  const absl::Status status = Queue(checked, std::move(work));
  if (!status.ok()) End(status);
  return this;
}

absl::Status UnaryCall::Queue(const absl::Status& checked, Work work) {
  absl::StatusOr<RequestGate::Ticket> ticket = environment_.gate->Enter();
  if (!ticket.ok()) return ticket.status();
  ticket_.emplace(*std::move(ticket));
  RETURN_IF_ERROR(checked);
  return environment_.text_pool->Submit([this, work = std::move(work)] { End(work(response_)); });
}

void UnaryCall::End(const absl::Status& status) {
  environment_.metrics->CountRequest(method_, status.code());
  if (!status.ok()) {
    LOG(INFO) << method_ << " code=" << absl::StatusCodeToString(status.code()) << " error=\""
              << absl::CHexEscape(status.message()) << "\"";
  }
  if (absl::IsResourceExhausted(status)) AddRetryHint(context_);
  Finish(ToGrpcStatus(status));
}

}  // namespace phalanx
