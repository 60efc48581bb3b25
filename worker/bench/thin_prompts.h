// Gets sequences to any depth without computing their prompts.
#ifndef PHALANX_WORKER_BENCH_THIN_PROMPTS_H_
#define PHALANX_WORKER_BENCH_THIN_PROMPTS_H_

#include <memory_resource>

#include "absl/status/statusor.h"
#include "worker/engine/step_executor.h"
#include "worker/step/step.h"

namespace phalanx {

// The step with the last token of each sequence alone: of a prompt's chunk, only that is computed.
// The sequence is as long afterwards as it would have been, and its block table is the same, but
// the KV cache holds whatever was there before. The step must not score tokens.
Step ThinStep(Step step);

// Passes steps on to another executor, thinned or as they are. A decode of sequences whose prompts
// were thinned takes as long as any other, since it reads as many keys and values, if the memory of
// the KV cache is really there.
class PromptThinner final : public StepExecutor {
 public:
  // `executor` is lent.
  explicit PromptThinner(StepExecutor* executor) : executor_(*executor) {}

  void set_thin(bool thin) { thin_ = thin; }

  int max_in_flight() const override { return executor_.max_in_flight(); }
  std::pmr::memory_resource* step_memory() const override { return executor_.step_memory(); }
  absl::Status Submit(Step step) override;
  absl::StatusOr<StepResult> Await() override { return executor_.Await(); }

 private:
  StepExecutor& executor_;
  bool thin_ = false;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_BENCH_THIN_PROMPTS_H_
