// Refuses steps that would reach outside the arenas.
#ifndef PHALANX_WORKER_STEP_CHECK_STEP_H_
#define PHALANX_WORKER_STEP_CHECK_STEP_H_

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "absl/status/status.h"
#include "worker/step/step.h"

namespace phalanx {

// Checks the steps of a group in order, each part before it runs, on every rank: they are made by
// the leader's scheduler, so a bad one is a bug or a peer that disagrees. Thread-compatible.
class StepChecker {
 public:
  // `rope_lists` is how many the model has.
  StepChecker(const StepLimits& limits, int vocab, int rope_lists);

  // The two parts of a step, which come in turn. INTERNAL, naming the array and the index, if a
  // part breaks a rule of kernels/step_batch.h or of struct Step, or a limit, or if it is the turn
  // of the other one. A part that was refused counts as if it had never come.
  absl::Status CheckForward(const StepBlock& forward);
  absl::Status CheckSampling(const SamplingBlock& sampling);
  // Both. A step that was refused counts as if neither had come.
  absl::Status Check(const Step& step);

 private:
  static constexpr int kNone = std::numeric_limits<int>::max();

  // What earlier steps left behind in a slot.
  struct Slot {
    int blocks = 0;  // Entries of its block table that belong to its sequence.
    // An entry that has come again, the first of them: what its sequence has there is yet to be
    // computed again.
    int again = kNone;
    bool has_token = false;  // Whether its last token is one that was drawn for its sequence.
    bool in_step = false;    // Whether the step has a sequence in it.
  };
  using Slots = std::vector<Slot>;

  absl::Status CheckTableEntries(const StepBlock::ConstArrays& arrays, Slots& slots) const;
  absl::Status CheckSequence(const StepBlock::ConstArrays& arrays, int seq, Slots& slots) const;
  absl::Status CheckTokens(const StepBlock::ConstArrays& arrays, int seq, const Slot& slot) const;
  absl::Status CheckRow(const SamplingBlock::ConstArrays& rows, size_t i) const;
  absl::Status CheckSlot(const SamplingBlock::ConstArrays& rows, size_t i) const;

  const StepLimits limits_;
  const int vocab_;
  const int rope_lists_;
  Slots slots_;
  // Whether a forward part has come whose sampling has not, and the slot of each of its tokens.
  bool sampling_is_due_ = false;
  std::vector<int32_t> slot_of_token_;
};

// The largest counts that a step within the limits may have.
kernels::StepCounts LargestStep(const StepLimits& limits);
kernels::SamplingCounts LargestSampling(const StepLimits& limits, int64_t vocab);

}  // namespace phalanx

#endif  // PHALANX_WORKER_STEP_CHECK_STEP_H_
