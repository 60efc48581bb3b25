// Steps on their way from the leader to the ranks.
#ifndef PHALANX_WORKER_GROUP_STEP_PLAN_CODEC_H_
#define PHALANX_WORKER_GROUP_STEP_PLAN_CODEC_H_

#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "phalanx/worker/v1/rank.pb.h"
#include "worker/step/step.h"

namespace phalanx {

// Where a group is in its sequence of steps. Leader and ranks each keep one. The hash covers both
// parts of all steps of the epoch so far, so that ranks whose histories differ never agree again.
// Block tables are covered too, although only changes of them travel: equal changes make equal
// tables.
class StepSequence {
 public:
  explicit StepSequence(uint64_t epoch) : epoch_(epoch) {}

  // Numbers and hashes the next step. If `sampling` is null, EncodeSampling is to follow. `plan` is
  // overwritten; its memory is reused.
  void Encode(const StepBlock& forward, const SamplingBlock* sampling, worker::v1::StepPlan* plan);
  void EncodeSampling(const SamplingBlock& sampling, worker::v1::StepSampling* message);

  // The next step, or the first part of it.
  struct Parts {
    StepBlock forward;
    // Nothing if DecodeSampling is to follow.
    std::optional<SamplingBlock> sampling;
  };
  // Takes the next step out of `plan`. DATA_LOSS, with the values of both sides, if it is of
  // another epoch, if it is not the next one, if the sampling of the one before has not come, if
  // the hash differs, or if its blocks are none. What the blocks hold is not checked
  // (worker/step/check_step.h does that).
  absl::StatusOr<Parts> Decode(const worker::v1::StepPlan& plan);
  // The same for the second part of a step.
  absl::StatusOr<SamplingBlock> DecodeSampling(const worker::v1::StepSampling& message);

 private:
  // DATA_LOSS unless a message for `step` of `epoch`, with that hash, may come now, which is ours
  // after it.
  absl::Status Follow(uint64_t epoch, uint64_t step, uint64_t hash, bool is_sampling,
                      uint64_t own_hash);

  const uint64_t epoch_;
  uint64_t next_step_ = 0;
  bool sampling_is_due_ = false;
  uint64_t hash_ = 0xcbf29ce484222325;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_GROUP_STEP_PLAN_CODEC_H_
