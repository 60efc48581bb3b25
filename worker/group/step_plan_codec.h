// Steps on their way from the leader to the ranks.
#ifndef PHALANX_WORKER_GROUP_STEP_PLAN_CODEC_H_
#define PHALANX_WORKER_GROUP_STEP_PLAN_CODEC_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "phalanx/worker/v1/rank.pb.h"
#include "worker/step/step.h"

namespace phalanx {

// Where a group is in its sequence of steps. Leader and ranks each keep one. The hash covers all
// steps of the epoch so far, so that ranks whose histories differ never agree again. Block tables
// are covered too, although only changes of them travel: equal changes make equal tables.
class StepSequence {
 public:
  explicit StepSequence(uint64_t epoch) : epoch_(epoch) {}

  // Numbers and hashes the next step. `plan` is overwritten; its memory is reused.
  void Encode(const Step& step, worker::v1::StepPlan* plan);

  // Takes the next step out of `plan`. DATA_LOSS, with the values of both sides, if it is of
  // another epoch, if it is not the next one, if the hash differs, or if its blocks are none. What
  // the blocks hold is not checked (worker/step/check_step.h does that).
  absl::StatusOr<Step> Decode(const worker::v1::StepPlan& plan);

 private:
  const uint64_t epoch_;
  uint64_t next_step_ = 0;
  uint64_t hash_ = 0xcbf29ce484222325;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_GROUP_STEP_PLAN_CODEC_H_
