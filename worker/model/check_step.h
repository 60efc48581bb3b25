// Refuses plans that would reach outside the arenas.
#ifndef PHALANX_WORKER_MODEL_CHECK_STEP_H_
#define PHALANX_WORKER_MODEL_CHECK_STEP_H_

#include "absl/status/status.h"
#include "worker/model/step_input.h"

namespace phalanx {

// INTERNAL, naming the array and the index, if `input` breaks a rule of kernels::StepBatch or a
// limit: a plan is made by the leader's scheduler, so a bad one is a bug or a peer that disagrees.
// `rope_lists` is how many the model has; `samples` tells whether this rank draws tokens, and so
// needs input.sampling and input.score_targets.
absl::Status CheckStepInput(const StepInput& input, const StepLimits& limits, int vocab,
                            int rope_lists, bool samples);

}  // namespace phalanx

#endif  // PHALANX_WORKER_MODEL_CHECK_STEP_H_
