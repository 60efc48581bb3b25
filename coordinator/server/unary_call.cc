#include "coordinator/server/unary_call.h"

#include <utility>

#include "absl/strings/escaping.h"
#include "base/log.h"
#include "base/status.h"
#include "coordinator/admission/refusal.h"
#include "coordinator/server/error_details.h"
#include "coordinator/server/raw_messages.h"
#include "coordinator/server/request_id.h"

namespace phalanx {

UnaryCall::UnaryCall(const ServingEnvironment* environment, const char* method,
                     grpc::CallbackServerContext* context, grpc::ByteBuffer* response)
    : environment_(*environment),
      id_(RequestIdOf(*context)),
      method_(method),
      context_(context),
      response_(response),
      arrived_at_(environment->clock->Now()),
      deadline_(arrived_at_ + TimeToDeadline(*context)) {}

grpc::ServerUnaryReactor* UnaryCall::RunHere(const absl::Status& checked, const Work& work) {
  absl::Status status = id_.status;
  status.Update(checked);
  End(status.ok() ? work(cancelled_, response_) : status);
  return this;
}

grpc::ServerUnaryReactor* UnaryCall::RunOnTextPool(const absl::Status& checked, int64_t bytes,
                                                   Work work) {
  const absl::Status status = Queue(checked, bytes, std::move(work));
  if (!status.ok()) End(status);
  return this;
}

absl::Status UnaryCall::Queue(const absl::Status& checked, int64_t bytes, Work work) {
  absl::StatusOr<RequestGate::Ticket> ticket = environment_.gate->Enter();
  if (!ticket.ok()) return ticket.status();
  ticket_.emplace(*std::move(ticket));
  RETURN_IF_ERROR(id_.status);
  RETURN_IF_ERROR(checked);
  if (deadline_ <= arrived_at_) {
    return Refused(RefusalKind::kExpired,
                   absl::DeadlineExceededError("the deadline had passed when the request arrived"));
  }
  return environment_.text_pool->Submit(this, bytes, [this, work = std::move(work)] {
    const absl::Status status = cancelled_ ? absl::OkStatus() : work(cancelled_, response_);
    // Nobody gets the result of a call that was cancelled, so it does not count as OK.
    End(cancelled_ ? WhyCancelled(arrived_at_, deadline_, environment_.clock->Now()) : status);
  });
}

void UnaryCall::OnCancel() {
  cancelled_ = true;
  // If the task cannot be removed, a thread runs it and ends the call.
  if (environment_.text_pool->Remove(this)) {
    End(WhyCancelled(arrived_at_, deadline_, environment_.clock->Now()));
  }
}

void UnaryCall::End(const absl::Status& status) {
  environment_.metrics->CountRequest(method_, status);
  if (!status.ok()) {
    LOG(INFO) << "request " << id_.text << " method=" << method_
              << " code=" << absl::StatusCodeToString(status.code()) << " error=\""
              << absl::CHexEscape(status.message()) << "\"";
  }
  if (status.ok()) context_->AddInitialMetadata(kRequestIdMetadata, id_.text);
  Finish(status.ok() ? grpc::Status::OK
                     : StatusForClient(status, id_.text, environment_.limits.model_name, context_));
}

}  // namespace phalanx
