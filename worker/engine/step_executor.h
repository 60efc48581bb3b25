// What the engine needs of the machinery that computes.
#ifndef PHALANX_WORKER_ENGINE_STEP_EXECUTOR_H_
#define PHALANX_WORKER_ENGINE_STEP_EXECUTOR_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/model/step_input.h"

namespace phalanx {

// Runs steps on every rank of the group. Engine thread only.
class StepExecutor {
 public:
  virtual ~StepExecutor() = default;

  // Computes one step. Blocks until its result is there. Any error is final: the group is lost
  // (UNAVAILABLE when a rank died or hung, INTERNAL when ranks disagree or a device failed).
  virtual absl::StatusOr<StepResult> Execute(const StepInput& input) = 0;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_ENGINE_STEP_EXECUTOR_H_
