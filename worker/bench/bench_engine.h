// Measures cases on a model. The whole engine runs, with its scheduler, its sampler and the group
// of ranks; only the network around it is left out.
#ifndef PHALANX_WORKER_BENCH_BENCH_ENGINE_H_
#define PHALANX_WORKER_BENCH_BENCH_ENGINE_H_

#include <cstdint>
#include <functional>

#include "absl/status/statusor.h"
#include "worker/bench/bench_case.h"
#include "worker/bench/bench_model.h"
#include "worker/bench/thin_prompts.h"

namespace phalanx {

class BenchEngine {
 public:
  // Cases are broken off, with CANCELLED, soon after `interrupted` returns true. With
  // `compute_prompts` the prompts of decodes are computed in full, else thinned (thin_prompts.h).
  // `model` is lent.
  BenchEngine(BenchModel* model, bool compute_prompts, std::function<bool()> interrupted);

  // Measures a case, or says in its result why that is not possible. Errors are those of the group,
  // which are final.
  absl::StatusOr<BenchResult> Measure(const BenchCase& bench_case);

 private:
  class Run;
  struct LoadTimes;

  absl::Status Prefill(BenchResult* result);
  absl::Status Decode(BenchResult* result);
  absl::Status Saturated(BenchResult* result);
  absl::Status Mixed(BenchResult* result);
  absl::Status RunMixed(const BenchCase& wanted, bool streams, int prompts, int64_t streamed_tokens,
                        LoadTimes* times);
  // Tokens of prompts that the engine puts into one step.
  int step_tokens() const;

  BenchModel& model_;
  const bool compute_prompts_;
  const std::function<bool()> interrupted_;
  PromptThinner executor_;
};

// Tokens of prompts that go into one step of a decode: more than a real step may have where they
// are thinned.
int PromptStepTokens(const StepLimits& limits, bool compute_prompts);

}  // namespace phalanx

#endif  // PHALANX_WORKER_BENCH_BENCH_ENGINE_H_
