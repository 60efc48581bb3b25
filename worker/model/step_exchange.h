// What travels between the host and the backend for the steps in flight: the step's blocks one way,
// drawn tokens and scores the other.
#ifndef PHALANX_WORKER_MODEL_STEP_EXCHANGE_H_
#define PHALANX_WORKER_MODEL_STEP_EXCHANGE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "kernels/ops.h"
#include "worker/model/activations.h"
#include "worker/step/step.h"

namespace phalanx {

// Each step in flight has memory of the host of its own. In backend memory all steps share one
// place, since a stream runs the copies of a step after the ops of the step before. Engine thread
// only.
class StepExchange {
 public:
  // What a step spends in collectives.
  struct CommCost {
    uint64_t bytes = 0;
    // Who tells the time.
    std::optional<absl::Duration> known = std::nullopt;
    // Or the sum of these when the step is done, if there are any. They are lent until then.
    std::vector<kernels::SpanTimer*> timers = {};
  };

  // Steps that may be in flight.
  static constexpr int kMaxInFlight = kernels::Stream::kMarks;

  // All that is pointed to is lent and must outlive the exchange. RESOURCE_EXHAUSTED if the host
  // has no memory.
  static absl::StatusOr<std::unique_ptr<StepExchange>> Create(const StepLimits& limits,
                                                              int64_t vocab,
                                                              const Activations* activations,
                                                              kernels::Backend* backend,
                                                              kernels::Stream* stream);

  // Where the arrays of any step of these counts lie in backend memory.
  kernels::StepBatch BatchOf(const kernels::StepCounts& counts) const;

  // For one step after the other: Begin, then what it needs of the next five, then End. The step
  // before may be awaited between these.
  void Begin();
  kernels::StepBatch Upload(const StepBlock& block);
  kernels::SamplingBatch Upload(const SamplingBlock& block);
  void DownloadTokens(int rows);
  void DownloadLogProbs(int rows);
  // What ShardedSampler::Describe has found, with as many of the likeliest tokens; each row is told
  // of as many of them as it wants.
  void DownloadDrawnLogProbs(int rows, int top);
  void End(CommCost comm);

  // Blocks until the oldest step in flight is done, of which there must be one. The errors of
  // Stream::AwaitMark and SpanTimer::Total.
  absl::StatusOr<StepResult> Await(absl::Duration timeout);

 private:
  // The memory of the host of one step.
  struct Slot {
    std::byte* forward_block = nullptr;
    std::byte* sampling_block = nullptr;
    int32_t* tokens = nullptr;
    float* log_probs = nullptr;
    // For each row its maximum, then for each its terms, then for each rank and row its top words.
    uint64_t* log_prob_words = nullptr;
  };
  struct InFlight {
    int slot = 0;
    int tokens = 0;
    int log_probs = 0;
    // The rows of which log-probabilities are told, and of how many likely tokens beside: how many
    // were found for each row, and SamplingRow::log_probs of each, if a row wants any.
    int described = 0;
    int top = 0;
    std::vector<int32_t> wanted = {};
    CommCost comm = {};
  };

  StepExchange(const StepLimits& limits, int64_t vocab, const Activations* activations,
               kernels::Backend* backend, kernels::Stream* stream)
      : limits_(limits),
        vocab_(vocab),
        activations_(*activations),
        backend_(*backend),
        stream_(*stream) {}

  absl::Status AllocateSlots();
  std::vector<DrawnLogProbs> DrawnLogProbsOf(const InFlight& step) const;
  const Slot& slot() const { return slots_[current_.slot]; }

  const StepLimits limits_;
  const int64_t vocab_;
  const Activations& activations_;
  kernels::Backend& backend_;
  kernels::Stream& stream_;
  std::unique_ptr<kernels::Buffer> memory_;
  std::array<Slot, kMaxInFlight> slots_;
  InFlight current_;
  std::deque<InFlight> in_flight_;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_MODEL_STEP_EXCHANGE_H_
