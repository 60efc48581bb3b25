#include "rpc/health_service.h"

#include <grpcpp/server_context.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <optional>
#include <set>
#include <utility>

#include "absl/strings/string_view.h"
#include "base/mutex.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "rpc/read_message.h"

namespace phalanx {
namespace {

using ::grpc::health::v1::Health;
using ::grpc::health::v1::HealthCheckRequest;
using ::grpc::health::v1::HealthCheckResponse;

using RawHealth =
    Health::WithRawCallbackMethod_Check<Health::WithRawCallbackMethod_Watch<Health::Service>>;

// Enough for the name of a service and for what protobuf puts around it.
constexpr int64_t kMaxRequestBytes = 4096;

enum class Name { kServed, kLiveness, kUnknown };

grpc::ByteBuffer Response(HealthCheckResponse::ServingStatus status) {
  HealthCheckResponse response;
  response.set_status(status);
  const grpc::Slice slice(response.SerializeAsString());
  return grpc::ByteBuffer(&slice, 1);
}

grpc::Status ToGrpcStatus(const absl::Status& status) {
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), std::string(status.message()));
}

}  // namespace

class HealthService::Impl final : public RawHealth {
 public:
  explicit Impl(std::vector<std::string> names) : names_(names.begin(), names.end()) {
    names_.insert("");
  }

  grpc::ServerUnaryReactor* Check(grpc::CallbackServerContext* context,
                                  const grpc::ByteBuffer* request,
                                  grpc::ByteBuffer* response) override {
    grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
    Name name;
    if (const absl::Status status = Read(*request, &name); !status.ok()) {
      reactor->Finish(ToGrpcStatus(status));
    } else if (name == Name::kUnknown) {
      reactor->Finish({grpc::StatusCode::NOT_FOUND, "service: unknown to this server"});
    } else {
      MutexLock lock(&mutex_);
      *response = Response(StatusOf(name));
      reactor->Finish(grpc::Status::OK);
    }
    return reactor;
  }

  grpc::ServerWriteReactor<grpc::ByteBuffer>* Watch(grpc::CallbackServerContext* context,
                                                    const grpc::ByteBuffer* request) override {
    Name name = Name::kUnknown;
    const absl::Status status = Read(*request, &name);
    auto* const watcher = new Watcher(this, name);
    MutexLock lock(&mutex_);
    watchers_.insert(watcher);
    // Nothing is sent for a request that cannot be read. A name that is unknown is no error: gRPC's
    // protocol wants the status SERVICE_UNKNOWN, and a watch that goes on.
    if (!status.ok()) watcher->final_status = ToGrpcStatus(status);
    Advance(*watcher);
    return watcher;
  }

  void SetServing(bool serving) {
    MutexLock lock(&mutex_);
    serving_ = serving;
    for (Watcher* const watcher : watchers_) Advance(*watcher);
  }

  void EndWatches() {
    MutexLock lock(&mutex_);
    ending_ = true;
    for (Watcher* const watcher : watchers_) Advance(*watcher);
  }

 private:
  // One Watch call. mutex_ guards its fields. Deleted when gRPC is done with it.
  struct Watcher final : public grpc::ServerWriteReactor<grpc::ByteBuffer> {
    Watcher(Impl* health, Name name) : health(*health), name(name) {}

    void OnWriteDone(bool ok) override { health.WriteDone(*this, ok); }
    void OnCancel() override { health.Cancelled(*this); }
    void OnDone() override { health.Forget(this); }

    Impl& health;
    const Name name;
    std::optional<HealthCheckResponse::ServingStatus> last_sent;
    // The status that the call is to end with, once that is known.
    std::optional<grpc::Status> final_status;
    grpc::ByteBuffer outgoing;
    bool writing = false;
    bool finished = false;
  };

  // Writes a status that has not been sent, or ends the call, whichever is due. mutex_ may be held,
  // because gRPC does not call back on the same thread.
  void Advance(Watcher& watcher) EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (watcher.writing || watcher.finished) return;
    const HealthCheckResponse::ServingStatus now = StatusOf(watcher.name);
    if (!watcher.final_status.has_value() && watcher.last_sent != now) {
      watcher.last_sent = now;
      watcher.writing = true;
      watcher.outgoing = Response(now);
      watcher.StartWrite(&watcher.outgoing);
      return;
    }
    // Not before the last change has been sent.
    if (!watcher.final_status.has_value() && ending_) {
      watcher.final_status.emplace(grpc::StatusCode::UNAVAILABLE, "the server is going away");
    }
    if (!watcher.final_status.has_value()) return;
    watcher.finished = true;
    watcher.Finish(*watcher.final_status);
  }

  void WriteDone(Watcher& watcher, bool ok) {
    MutexLock lock(&mutex_);
    watcher.writing = false;
    if (!ok) watcher.final_status = grpc::Status::CANCELLED;
    Advance(watcher);
  }

  void Cancelled(Watcher& watcher) {
    MutexLock lock(&mutex_);
    watcher.final_status = grpc::Status::CANCELLED;
    Advance(watcher);
  }

  void Forget(Watcher* watcher) {
    {
      MutexLock lock(&mutex_);
      watchers_.erase(watcher);
    }
    delete watcher;
  }

  absl::Status Read(const grpc::ByteBuffer& bytes, Name* name) const {
    HealthCheckRequest request;
    absl::Status status = ReadMessage(bytes, kMaxRequestBytes, &request);
    if (names_.count(request.service()) > 0) {
      *name = Name::kServed;
    } else {
      *name = request.service() == kLivenessService ? Name::kLiveness : Name::kUnknown;
    }
    return status;
  }

  HealthCheckResponse::ServingStatus StatusOf(Name name) const EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (name == Name::kUnknown) return HealthCheckResponse::SERVICE_UNKNOWN;
    const bool serving = name == Name::kLiveness || serving_;
    return serving ? HealthCheckResponse::SERVING : HealthCheckResponse::NOT_SERVING;
  }

  std::set<std::string> names_;
  Mutex mutex_;
  bool serving_ GUARDED_BY(mutex_) = false;
  bool ending_ GUARDED_BY(mutex_) = false;
  std::set<Watcher*> watchers_ GUARDED_BY(mutex_);
};

HealthService::HealthService(std::vector<std::string> names)
    : impl_(std::make_unique<Impl>(std::move(names))) {}

HealthService::~HealthService() = default;

grpc::Service* HealthService::service() { return impl_.get(); }

void HealthService::SetServing(bool serving) { impl_->SetServing(serving); }

void HealthService::EndWatches() { impl_->EndWatches(); }

}  // namespace phalanx
