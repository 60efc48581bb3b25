#include "client/inference_client.h"

#include <grpc/support/time.h>
#include <grpcpp/grpcpp.h>

#include <cstdint>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/clock.h"
#include "base/status.h"
#include "client/error_details.h"
#include "client/stream_checker.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "phalanx/v1/inference.grpc.pb.h"
#include "phalanx/worker/v1/introspection.grpc.pb.h"

namespace phalanx {
namespace {

using ::grpc::health::v1::Health;
using ::grpc::health::v1::HealthCheckRequest;
using ::grpc::health::v1::HealthCheckResponse;

// The pause between two tries to watch a server that is connected but ends the stream.
constexpr absl::Duration kWatchPause = absl::Milliseconds(20);

// A deadline of the monotonic clock, as the time of day may be set while a call runs.
gpr_timespec DeadlineAfter(absl::Duration timeout) {
  const int64_t ns = absl::ToInt64Nanoseconds(timeout);
  return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_nanos(ns, GPR_TIMESPAN));
}

// A ClientContext that has the deadline and listens to the cancellation of CallOptions.
class CallContext {
 public:
  explicit CallContext(const CallOptions& options)
      : scope_(options.cancellation, [this] { context_.TryCancel(); }) {
    if (options.timeout != absl::InfiniteDuration()) {
      context_.set_deadline(DeadlineAfter(options.timeout));
    }
    if (!options.request_id.empty()) context_.AddMetadata("x-request-id", options.request_id);
  }

  grpc::ClientContext* get() { return &context_; }

 private:
  grpc::ClientContext context_;
  // Declared last, so that it ends before the context that it cancels.
  CancellationScope scope_;
};

template <typename Request, typename Response, typename Stub>
absl::StatusOr<Response> Call(Stub& stub,
                              grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&,
                                                           Response*),
                              const Request& request, const CallOptions& options) {
  CallContext context(options);
  Response response;
  RETURN_IF_ERROR(StatusFromGrpc((stub.*method)(context.get(), request, &response)));
  return response;
}

ServingState ToServingState(HealthCheckResponse::ServingStatus status) {
  switch (status) {
    case HealthCheckResponse::SERVING:
      return ServingState::kServing;
    case HealthCheckResponse::NOT_SERVING:
      return ServingState::kNotServing;
    default:
      return ServingState::kUnknown;
  }
}

std::shared_ptr<grpc::Channel> Connect(const std::string& target) {
  grpc::ChannelArguments arguments;
  // A proxy for the web is no way to a server of one's own.
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  // By default gRPC waits up to two minutes between tries to connect, which is too long for a user
  // who waits for a server to start.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 50);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 1000);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
  return grpc::CreateCustomChannel(target, grpc::InsecureChannelCredentials(), arguments);
}

}  // namespace

struct InferenceClient::Stubs {
  explicit Stubs(const std::shared_ptr<grpc::Channel>& channel)
      : inference(channel), health(channel), introspection(channel) {}

  v1::Inference::Stub inference;
  Health::Stub health;
  worker::v1::Introspection::Stub introspection;
};

InferenceClient::InferenceClient(const Options& options)
    : stubs_(std::make_unique<Stubs>(Connect(options.target))) {}

InferenceClient::~InferenceClient() = default;

absl::Status InferenceClient::Generate(const v1::GenerateRequest& request,
                                       const CallOptions& options, EventCallback on_event) {
  CallContext context(options);
  const auto reader = stubs_->inference.Generate(context.get(), request);
  StreamChecker checker(request.has_n() ? request.n() : 1);
  absl::Status status;
  v1::GenerateEvent event;
  while (status.ok() && reader->Read(&event)) {
    status = checker.Check(event);
    if (status.ok()) status = on_event(event);
  }
  if (!status.ok()) {
    context.get()->TryCancel();
    // gRPC wants everything read before Finish. Its status would only say CANCELLED.
    while (reader->Read(&event)) {
    }
    reader->Finish();
    return status;
  }
  RETURN_IF_ERROR(StatusFromGrpc(reader->Finish()));
  return checker.CheckEnd();
}

absl::StatusOr<std::vector<float>> InferenceClient::Score(const v1::ScoreRequest& request,
                                                          const CallOptions& options) {
  CallContext context(options);
  const auto reader = stubs_->inference.Score(context.get(), request);
  std::vector<float> log_probs;
  bool gap = false;
  std::optional<int> scored_tokens;
  v1::ScoreEvent event;
  while (reader->Read(&event)) {
    if (event.has_finished()) scored_tokens = event.finished().scored_tokens();
    if (!event.has_delta()) continue;
    // The first score is that of the token at position 1: the one at 0 follows nothing.
    gap |= event.delta().position() != static_cast<int>(log_probs.size()) + 1;
    log_probs.insert(log_probs.end(), event.delta().log_probs().begin(),
                     event.delta().log_probs().end());
  }
  RETURN_IF_ERROR(StatusFromGrpc(reader->Finish()));
  // An unset scored_tokens is unequal to every number.
  if (gap || scored_tokens != static_cast<int>(log_probs.size())) {
    return absl::DataLossError(absl::StrCat("stream: ", log_probs.size(), " scores came, ",
                                            scored_tokens.has_value()
                                                ? absl::StrCat(*scored_tokens, " were counted")
                                                : "without a ScoreFinished"));
  }
  return log_probs;
}

absl::StatusOr<v1::TokenizeResponse> InferenceClient::Tokenize(const v1::TokenizeRequest& request,
                                                               const CallOptions& options) {
  return Call(stubs_->inference, &v1::Inference::Stub::Tokenize, request, options);
}

absl::StatusOr<v1::DetokenizeResponse> InferenceClient::Detokenize(
    const v1::DetokenizeRequest& request, const CallOptions& options) {
  return Call(stubs_->inference, &v1::Inference::Stub::Detokenize, request, options);
}

absl::StatusOr<v1::Model> InferenceClient::GetModel(const v1::GetModelRequest& request,
                                                    const CallOptions& options) {
  return Call(stubs_->inference, &v1::Inference::Stub::GetModel, request, options);
}

absl::StatusOr<v1::ListModelsResponse> InferenceClient::ListModels(const CallOptions& options) {
  return Call(stubs_->inference, &v1::Inference::Stub::ListModels, v1::ListModelsRequest(),
              options);
}

absl::StatusOr<worker::v1::DumpStateResponse> InferenceClient::DumpState(
    const worker::v1::DumpStateRequest& request, const CallOptions& options) {
  return Call(stubs_->introspection, &worker::v1::Introspection::Stub::DumpState, request, options);
}

absl::StatusOr<ServingState> InferenceClient::CheckHealth(const std::string& service,
                                                          const CallOptions& options) {
  HealthCheckRequest request;
  request.set_service(service);
  const absl::StatusOr<HealthCheckResponse> response =
      Call(stubs_->health, &Health::Stub::Check, request, options);
  if (absl::IsNotFound(response.status())) return ServingState::kUnknown;
  RETURN_IF_ERROR(response.status());
  return ToServingState(response->status());
}

absl::Status InferenceClient::WaitUntilServing(const std::string& service,
                                               const CallOptions& options) {
  const absl::Time deadline = MonotonicClock()->Now() + options.timeout;
  HealthCheckRequest request;
  request.set_service(service);
  while (true) {
    CallOptions attempt = options;
    // Once it is negative, gRPC returns DEADLINE_EXCEEDED, which ends the loop.
    attempt.timeout = deadline - MonotonicClock()->Now();
    CallContext context(attempt);
    context.get()->set_wait_for_ready(true);
    const auto reader = stubs_->health.Watch(context.get(), request);
    HealthCheckResponse response;
    while (reader->Read(&response)) {
      // Without Finish: the end of the context cancels the stream.
      if (response.status() == HealthCheckResponse::SERVING) return absl::OkStatus();
    }
    absl::Status status = StatusFromGrpc(reader->Finish());
    // A server that goes down or restarts ends the stream; it may come back.
    if (!status.ok() && !absl::IsUnavailable(status)) return status;
    absl::SleepFor(kWatchPause);
  }
}

}  // namespace phalanx
