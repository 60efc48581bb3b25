#include "coordinator/admission/request_gate.h"

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "coordinator/admission/refusal.h"

namespace phalanx {

RequestGate::RequestGate(int max_requests) : max_requests_(max_requests) {
  CHECK(max_requests >= 1) << "max_requests " << max_requests;
}

absl::StatusOr<RequestGate::Ticket> RequestGate::Enter() {
  MutexLock lock(&mutex_);
  if (closed_) {
    return Refused(RefusalKind::kDraining, absl::UnavailableError("the server is shutting down"));
  }
  if (in_flight_ >= max_requests_) {
    return Refused(RefusalKind::kBusy, absl::ResourceExhaustedError(
                                           absl::StrCat("the server is busy with ", in_flight_,
                                                        in_flight_ == 1 ? " request" : " requests",
                                                        ", its limit (--max_requests)")));
  }
  ++in_flight_;
  return Ticket(this);
}

void RequestGate::Close(std::function<void()> on_idle) {
  {
    MutexLock lock(&mutex_);
    CHECK(!closed_) << "closed twice";
    closed_ = true;
    if (in_flight_ > 0) {
      on_idle_ = std::move(on_idle);
      return;
    }
  }
  // Without the lock: what is called may ask the gate.
  on_idle();
}

int RequestGate::in_flight() const {
  MutexLock lock(&mutex_);
  return in_flight_;
}

void RequestGate::Leave() {
  std::function<void()> on_idle;
  {
    MutexLock lock(&mutex_);
    if (--in_flight_ == 0) on_idle = std::exchange(on_idle_, nullptr);
  }
  if (on_idle) on_idle();
}

}  // namespace phalanx
