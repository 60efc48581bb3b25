#include "rpc/self_probe.h"

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>

#include <cstdint>
#include <optional>
#include <utility>

#include "base/clock.h"
#include "base/log.h"
#include "base/mutex.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "rpc/health_service.h"

namespace phalanx {
namespace {

using ::grpc::health::v1::Health;
using ::grpc::health::v1::HealthCheckRequest;
using ::grpc::health::v1::HealthCheckResponse;

// How long a call that was cancelled may take to end. It waits for nobody else.
constexpr absl::Duration kCancelTimeout = absl::Seconds(1);

prometheus::Family<prometheus::Counter>& Probes(prometheus::Registry& registry) {
  return prometheus::BuildCounter()
      .Name("phalanx_self_probes_total")
      .Help("Calls of this process to its own gRPC port, each over a new connection.")
      .Register(registry);
}

std::shared_ptr<grpc::Channel> NewConnection(const std::string& target) {
  grpc::ChannelArguments arguments;
  // Otherwise gRPC would use a connection again that another channel has.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  return grpc::CreateCustomChannel(target, grpc::InsecureChannelCredentials(), arguments);
}

}  // namespace

struct SelfProbe::Shared {
  Mutex mutex;
  CondVar changed;
  bool stopping GUARDED_BY(mutex) = false;

  // Returns when `condition` holds, `timeout` has passed or, unless `even_if_stopping`, the probe
  // is to stop.
  void Wait(absl::Duration timeout, bool even_if_stopping, const std::function<bool()>& condition)
      EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    const absl::Time end = MonotonicClock()->Now() + timeout;
    while (!condition() && (even_if_stopping || !stopping) && MonotonicClock()->Now() < end) {
      changed.WaitFor(&mutex, end - MonotonicClock()->Now());
    }
  }
};

// One call. How long it may take is not left to gRPC's timers, since they are part of what is
// probed.
class SelfProbe::Call {
 public:
  Call(std::shared_ptr<Shared> shared, const std::string& target)
      : shared_(std::move(shared)), stub_(Health::NewStub(NewConnection(target))) {
    request_.set_service(kLivenessService);
  }

  // Makes the call. Returns the status that it ended with, or nothing if it has not ended within
  // `timeout` or the probe is to stop.
  //
  // The call is destroyed here and not by its callback: gRPC 1.51 aborts the process when a thread
  // that runs callbacks releases the last channel. A call that does not even end when it is
  // cancelled is never destroyed.
  static std::optional<grpc::Status> Run(std::unique_ptr<Call> call, absl::Duration timeout) {
    call->Start();
    MutexLock lock(&call->shared_->mutex);
    // The callback holds the mutex while it sets result_. So once that is seen, the callback does
    // not use the call any more.
    const auto ended = [&] { return call->result_.has_value(); };
    call->shared_->Wait(timeout, /*even_if_stopping=*/false, ended);
    std::optional<grpc::Status> result = call->result_;
    if (!result.has_value()) {
      call->context_.TryCancel();
      call->shared_->Wait(kCancelTimeout, /*even_if_stopping=*/true, ended);
      if (!ended()) static_cast<void>(call.release());
    }
    return result;
  }

 private:
  void Start() {
    stub_->async()->Check(&context_, &request_, &response_, [this](const grpc::Status& status) {
      MutexLock lock(&shared_->mutex);
      result_ = status;
      shared_->changed.SignalAll();
    });
  }

  const std::shared_ptr<Shared> shared_;
  const std::unique_ptr<Health::Stub> stub_;
  grpc::ClientContext context_;
  HealthCheckRequest request_;
  HealthCheckResponse response_;
  // Guarded by shared_->mutex.
  std::optional<grpc::Status> result_;
};

SelfProbe::SelfProbe(Options options, const HostPort& address, const Listener* listener,
                     prometheus::Registry& registry)
    : options_(std::move(options)),
      target_(address.ToString()),
      listener_(listener),
      answered_(Probes(registry).Add({{"result", "answered"}})),
      refused_(Probes(registry).Add({{"result", "refused"}})),
      failed_(Probes(registry).Add({{"result", "failed"}})),
      shared_(std::make_shared<Shared>()) {
  if (options_.interval > absl::ZeroDuration()) thread_ = std::thread([this] { Run(); });
}

SelfProbe::~SelfProbe() {
  {
    MutexLock lock(&shared_->mutex);
    shared_->stopping = true;
    shared_->changed.SignalAll();
  }
  if (thread_.joinable()) thread_.join();
}

void SelfProbe::Run() {
  while (true) {
    {
      MutexLock lock(&shared_->mutex);
      shared_->Wait(options_.interval, /*even_if_stopping=*/false, [] { return false; });
      if (shared_->stopping) return;
    }
    if (!Probe()) return;
    if (failures_ < options_.max_failures) continue;
    if (options_.on_deaf != nullptr) return options_.on_deaf();
    LOG(FATAL) << target_ << " has not answered this process itself " << failures_
               << " times in a row (--self_probe_interval): it ends, to be started again";
  }
}

bool SelfProbe::Probe() {
  // A refused connection only shows as a call that failed, so the listener's count tells.
  const int64_t refused_before = listener_->refused();
  const std::optional<grpc::Status> result =
      Call::Run(std::make_unique<Call>(shared_, target_), options_.interval);
  {
    MutexLock lock(&shared_->mutex);
    if (shared_->stopping) return false;
  }
  if (result.has_value() && result->ok()) {
    answered_.Increment();
    failures_ = 0;
  } else if (result.has_value() && listener_->refused() != refused_before) {
    refused_.Increment();
    failures_ = 0;
  } else {
    failed_.Increment();
    ++failures_;
    LOG(WARNING) << target_ << " does not answer this process itself ("
                 << (result.has_value() ? result->error_message() : "no answer in time") << "), "
                 << failures_ << " of " << options_.max_failures << " times";
  }
  return true;
}

}  // namespace phalanx
