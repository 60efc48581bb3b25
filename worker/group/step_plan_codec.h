// Steps on their way from the leader to the ranks.
#ifndef PHALANX_WORKER_GROUP_STEP_PLAN_CODEC_H_
#define PHALANX_WORKER_GROUP_STEP_PLAN_CODEC_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "phalanx/worker/v1/rank.pb.h"
#include "worker/model/step_input.h"

namespace phalanx {

// Where a group is in its sequence of steps. Leader and ranks each keep one. The hash covers all
// plans of the epoch so far, so that ranks whose histories differ never agree again.
class StepSequence {
 public:
  explicit StepSequence(uint64_t epoch) : epoch_(epoch) {}

  // Numbers and hashes the next step. `plan` is overwritten; its memory is reused.
  void Encode(const StepInput& input, worker::v1::StepPlan* plan);

  // Takes the next step out of `plan`. INTERNAL, with the values of both sides, if it is of another
  // epoch, if it is not the next one, or if the hash differs. Sampling parameters and score targets
  // are not sent, so they are empty in the result.
  absl::StatusOr<StepInput> Decode(const worker::v1::StepPlan& plan);

 private:
  const uint64_t epoch_;
  uint64_t next_step_ = 0;
  uint64_t hash_ = 0xcbf29ce484222325;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_GROUP_STEP_PLAN_CODEC_H_
