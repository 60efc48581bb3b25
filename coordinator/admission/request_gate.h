// Bounds how many requests this process works on at once.
#ifndef PHALANX_COORDINATOR_ADMISSION_REQUEST_GATE_H_
#define PHALANX_COORDINATOR_ADMISSION_REQUEST_GATE_H_

#include <functional>
#include <utility>

#include "absl/status/statusor.h"
#include "base/mutex.h"

namespace phalanx {

// Thread-safe. Must outlive its tickets.
class RequestGate {
 public:
  // The right to work on one request. It is given back when the ticket is destroyed.
  class Ticket {
   public:
    Ticket(Ticket&& other) noexcept : gate_(std::exchange(other.gate_, nullptr)) {}
    Ticket& operator=(Ticket&&) = delete;
    ~Ticket() {
      if (gate_ != nullptr) gate_->Leave();
    }

   private:
    friend class RequestGate;
    explicit Ticket(RequestGate* gate) : gate_(gate) {}

    RequestGate* gate_;
  };

  // `max_requests` must be at least 1.
  explicit RequestGate(int max_requests);
  RequestGate(const RequestGate&) = delete;
  RequestGate& operator=(const RequestGate&) = delete;

  // To be called when a request arrives, before any work on it. RESOURCE_EXHAUSTED if
  // `max_requests` tickets are out, UNAVAILABLE once closed. Does not block.
  absl::StatusOr<Ticket> Enter();

  // Refuses all further requests. `on_idle` is called once, as soon as no ticket is out: perhaps
  // within this call, otherwise on the thread that gives the last one back. It must not block. To
  // be called once.
  void Close(std::function<void()> on_idle);

  // The number of tickets that are out.
  int in_flight() const;

 private:
  void Leave();

  const int max_requests_;
  mutable Mutex mutex_;
  int in_flight_ GUARDED_BY(mutex_) = 0;
  bool closed_ GUARDED_BY(mutex_) = false;
  std::function<void()> on_idle_ GUARDED_BY(mutex_);
};

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_ADMISSION_REQUEST_GATE_H_
