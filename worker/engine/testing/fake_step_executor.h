// A model for tests: its next token depends on every token before it, as read back from a KV cache
// that is kept like the real one. A block that is mixed up, lost or freed too early changes tokens.
#ifndef PHALANX_WORKER_ENGINE_TESTING_FAKE_STEP_EXECUTOR_H_
#define PHALANX_WORKER_ENGINE_TESTING_FAKE_STEP_EXECUTOR_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "base/mutex.h"
#include "model/spec/long_rope.h"
#include "worker/engine/step_executor.h"
#include "worker/model/step_input.h"

namespace phalanx {

// Dies on a step that breaks the contract of StepInput or the limits, and on steps after a failure.
class FakeStepExecutor final : public StepExecutor {
 public:
  FakeStepExecutor(const StepLimits& limits, int vocab_size);

  absl::StatusOr<StepResult> Execute(const StepInput& input) override;

  // The tokens that follow `prompt` where every token is computed with the rotary list that `rope`
  // asks for at that length.
  std::vector<int32_t> Continuation(absl::Span<const int32_t> prompt, int num_tokens,
                                    const RopePlan& rope = {}) const;
  // The log-probabilities of tokens[1..] with rotary list `rope_list`.
  std::vector<float> LogProbs(absl::Span<const int32_t> tokens, int rope_list = 0) const;

  // The next step fails with `status`. Any thread.
  void FailWith(const absl::Status& status) LOCKS_EXCLUDED(mutex_);

  // Called on the engine thread at the start of each step, for example to move a clock. To be set
  // before the first step.
  void OnStep(std::function<void(const StepInput&)> hook) { hook_ = std::move(hook); }

  // Sequences that contain `token` have logits that are no numbers. To be set before the first
  // step.
  void BreakAfter(int32_t token) { broken_token_ = token; }

  int steps() const LOCKS_EXCLUDED(mutex_);

 private:
  void CheckShapes(const StepInput& input) const;
  void CheckSequence(const StepInput& input, int seq);
  void WriteKv(const StepInput& input, int seq);
  // What the cache keeps of a token.
  static int32_t KvOf(int32_t token, int rope_list) { return 2 * token + rope_list; }
  // Keys and values of the first `length` tokens of a sequence, read back.
  std::vector<int32_t> History(const StepInput& input, int seq, int length);
  bool IsBroken(absl::Span<const int32_t> history) const;
  int32_t NextToken(absl::Span<const int32_t> history) const;
  static float LogProb(absl::Span<const int32_t> history, int32_t target);
  int32_t& Slot(const StepInput& input, int seq, int position);

  const StepLimits limits_;
  const int vocab_size_;
  std::function<void(const StepInput&)> hook_;
  std::optional<int32_t> broken_token_;
  std::vector<int32_t> arena_;
  // By block: the step in which it was last written or read.
  std::vector<int> used_in_step_;

  mutable Mutex mutex_;
  int steps_ GUARDED_BY(mutex_) = 0;
  absl::Status next_status_ GUARDED_BY(mutex_);
  bool failed_ GUARDED_BY(mutex_) = false;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_ENGINE_TESTING_FAKE_STEP_EXECUTOR_H_
