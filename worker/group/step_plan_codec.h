// Steps on their way from the leader to the ranks.
#ifndef PHALANX_WORKER_GROUP_STEP_PLAN_CODEC_H_
#define PHALANX_WORKER_GROUP_STEP_PLAN_CODEC_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "phalanx/worker/v1/rank.pb.h"
#include "worker/model/step_input.h"

namespace phalanx {

// Where a group is in its sequence of steps. Leader and ranks each keep one; the hash runs over all
// plans of the epoch, so that ranks whose histories differ can never agree again.
class StepSequence {
 public:
  explicit StepSequence(uint64_t epoch) : epoch_(epoch) {}

  // Numbers and hashes the next step. `plan` is overwritten; its memory is reused.
  void Encode(const StepInput& input, worker::v1::StepPlan* plan);

  // Takes the next step out of `plan`. INTERNAL, telling both sides, if it is of another epoch, not
  // the next one, or if the hash disagrees. Sampling parameters and score targets do not
  // travel.
  absl::StatusOr<StepInput> Decode(const worker::v1::StepPlan& plan);

 private:
  const uint64_t epoch_;
  uint64_t next_step_ = 0;
  uint64_t hash_ = 0xcbf29ce484222325;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_GROUP_STEP_PLAN_CODEC_H_
