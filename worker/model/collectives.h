// The collectives of one rank's steps, and the time that they take.
#ifndef PHALANX_WORKER_MODEL_COLLECTIVES_H_
#define PHALANX_WORKER_MODEL_COLLECTIVES_H_

#include <chrono>
#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "kernels/ops.h"
#include "worker/comm/communicator.h"

namespace phalanx {

// Engine thread only. Errors are those of Communicator.
class Collectives {
 public:
  // Both are lent. `comm` may be null for a rank that is alone; collectives then do nothing.
  Collectives(Communicator* comm, kernels::Stream* stream) : comm_(comm), stream_(*stream) {}

  absl::Status Sum(kernels::Tensor partial) {
    return Timed([&] { return comm_->AllReduceSum(stream_, partial); });
  }
  // See Communicator::AllReduceAddRmsNorm. Not to be called by a rank without a communicator.
  absl::Status SumAddRmsNorm(kernels::Backend& backend, kernels::Tensor residual,
                             kernels::Tensor delta, kernels::Tensor weight, float eps,
                             kernels::Tensor out) {
    return Timed([&] {
      return comm_->AllReduceAddRmsNorm(stream_, backend, residual, delta, weight, eps, out);
    });
  }
  absl::Status SumWords(uint64_t* words, int64_t count) {
    return Timed([&] { return comm_->AllReduceWords(stream_, words, count, WordOp::kSum); });
  }
  absl::Status MaxWords(uint64_t* words, int64_t count) {
    return Timed([&] { return comm_->AllReduceWords(stream_, words, count, WordOp::kMax); });
  }
  absl::Status GatherWords(const uint64_t* mine, int64_t count, uint64_t* all) {
    return Timed([&] { return comm_->AllGatherWords(stream_, mine, count, all); });
  }

  // To be called when the stream has been waited for; see Communicator::CheckQueued.
  absl::Status CheckQueued() { return comm_ == nullptr ? absl::OkStatus() : comm_->CheckQueued(); }

  // Time spent in collectives since the last call of Restart, waiting for peers included, by the
  // host's clock; nothing if that does not tell it, after TimeBy.
  std::optional<absl::Duration> time() const {
    if (!times_by_host_) return std::nullopt;
    return absl::FromChrono(ticks_);
  }
  // Bytes that this rank has given to collectives since then; see Communicator::bytes_sent.
  uint64_t bytes() const { return bytes_sent() - bytes_before_; }
  void Restart() {
    ticks_ = std::chrono::nanoseconds(0);
    bytes_before_ = bytes_sent();
  }

  // For backends whose ops return before they are done. The collectives from here on are spans of
  // `timer`, which is lent, or are not timed if it is null.
  void TimeBy(kernels::SpanTimer* timer) {
    times_by_host_ = false;
    timer_ = timer;
  }

 private:
  template <typename Collective>
  absl::Status Timed(Collective collective) {
    if (comm_ == nullptr) return absl::OkStatus();
    // A rank alone has nobody to wait for, so its time is not counted. It makes the call all the
    // same, because that fails after Communicator::Abort and so ends a step that nobody wants any
    // more.
    if (comm_->world() == 1) return collective();
    if (!times_by_host_) return InSpan(collective);
    const auto start = std::chrono::steady_clock::now();
    absl::Status status = collective();
    ticks_ += std::chrono::steady_clock::now() - start;
    return status;
  }

  template <typename Collective>
  absl::Status InSpan(Collective collective) {
    if (timer_ == nullptr) return collective();
    timer_->Begin(stream_);
    absl::Status status = collective();
    timer_->End(stream_);
    return status;
  }

  uint64_t bytes_sent() const { return comm_ == nullptr ? 0 : comm_->bytes_sent(); }

  Communicator* const comm_;
  kernels::Stream& stream_;
  std::chrono::nanoseconds ticks_{0};
  uint64_t bytes_before_ = 0;
  bool times_by_host_ = true;
  kernels::SpanTimer* timer_ = nullptr;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_MODEL_COLLECTIVES_H_
