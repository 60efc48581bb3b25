// A model for tests: its next token depends on every token before it, as read back from a KV cache
// that is kept like the real one. A block that is mixed up, lost or freed too early changes tokens.
#ifndef PHALANX_WORKER_ENGINE_TESTING_FAKE_STEP_EXECUTOR_H_
#define PHALANX_WORKER_ENGINE_TESTING_FAKE_STEP_EXECUTOR_H_

#include <cstdint>
#include <deque>
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
#include "worker/step/check_step.h"
#include "worker/step/step.h"

namespace phalanx {

// Computes a step when it is awaited, as late as can be. Dies on a step that breaks the contract of
// Step, of StepExecutor or the limits, that writes to a block which another sequence has in this
// step or in one in flight, that draws or scores after keys that were never written or belong to
// another rotary list, and on steps after a failure.
class FakeStepExecutor final : public StepExecutor {
 public:
  FakeStepExecutor(const StepLimits& limits, int vocab_size, int max_in_flight = 1);

  int max_in_flight() const override { return max_in_flight_; }
  absl::Status Submit(Step step) override;
  absl::Status SubmitForward(StepBlock forward) override;
  absl::Status SubmitSampling(SamplingBlock sampling) override;
  absl::StatusOr<StepResult> Await() override;
  bool Recovers(const absl::Status& failure) override { return recovers_; }

  // The tokens that follow `prompt` where every token is computed with the rotary list that `rope`
  // asks for at that length.
  std::vector<int32_t> Continuation(absl::Span<const int32_t> prompt, int num_tokens,
                                    const RopePlan& rope = {}) const;
  // The log-probabilities of tokens[1..] with rotary list `rope_list`.
  std::vector<float> LogProbs(absl::Span<const int32_t> tokens, int rope_list = 0) const;

  // The next step fails with `status`. Any thread.
  void FailWith(const absl::Status& status) LOCKS_EXCLUDED(mutex_);
  // So does the next sampling part that comes by itself, while its forward part runs.
  void FailSamplingWith(const absl::Status& status) LOCKS_EXCLUDED(mutex_);

  // What Recovers answers.
  void SetRecovers(bool recovers) { recovers_ = recovers; }
  // Takes steps again after a failure, with an empty KV cache. Not while the engine is in a step.
  void Recover() LOCKS_EXCLUDED(mutex_);

  // Called on the engine thread when a step is awaited, for example to move a clock. To be set
  // before the first step.
  void OnStep(std::function<void(const Step&)> hook) { hook_ = std::move(hook); }

  // Called with each result before it is returned. To be set before the first step.
  void OnResult(std::function<void(StepResult&)> hook) { result_hook_ = std::move(hook); }

  // Sequences that contain `token` have logits that are no numbers. To be set before the first
  // step.
  void BreakAfter(int32_t token) { broken_token_ = token; }

  // Seven of eight tokens are those that came `period` tokens before them, so that they can be
  // guessed. To be set before the first step.
  void RepeatEvery(int period) { period_ = period; }

  // Steps that were computed.
  int steps() const LOCKS_EXCLUDED(mutex_);
  // Steps that were submitted while another one was in flight.
  int steps_planned_ahead() const LOCKS_EXCLUDED(mutex_);
  // Steps whose sampling came by itself, and those whose sampling never came.
  int split_steps() const LOCKS_EXCLUDED(mutex_);
  int dropped_steps() const LOCKS_EXCLUDED(mutex_);

 private:
  // A sequence that has had a slot. It is another one each time that a block table begins anew.
  using Owner = int;
  struct PendingStep {
    Step step;
    bool has_sampling = false;
    // By sequence of the step.
    std::vector<Owner> owners;
    std::vector<std::vector<int32_t>> blocks;
  };

  void TakeTableEntries(const StepBlock& forward);
  // Dies if a block that `step` writes to has another owner, in the same step or in one in flight.
  // Blocks that are only read may be shared.
  void CheckBlocks(const PendingStep& step) const;
  StepResult Compute(const PendingStep& pending);
  void WriteKv(const PendingStep& pending, int token);
  // What the cache keeps of a token.
  static int32_t KvOf(int32_t token, int rope_list) { return 2 * token + rope_list; }
  // Keys and values of the first `length` tokens of a sequence, read back. Dies if one was never
  // written, or with another rotary list.
  std::vector<int32_t> History(const PendingStep& pending, int seq, int length);
  bool IsBroken(absl::Span<const int32_t> history) const;
  int32_t NextToken(absl::Span<const int32_t> history) const;
  // The token that the row forces, else the first one from `token` on that its mask allows, or
  // kNoToken.
  int32_t Allowed(int32_t token, const SamplingBlock::ConstArrays& rows, size_t row) const;
  static float LogProb(absl::Span<const int32_t> history, int32_t target);
  int32_t& Kv(const PendingStep& pending, int seq, int position);

  const StepLimits limits_;
  const int vocab_size_;
  const int max_in_flight_;
  std::function<void(const Step&)> hook_;
  std::function<void(StepResult&)> result_hook_;
  std::optional<int32_t> broken_token_;
  bool recovers_ = false;
  int period_ = 0;
  std::optional<StepChecker> checker_;
  std::deque<PendingStep> in_flight_;
  // By slot.
  std::vector<std::vector<int32_t>> tables_;
  std::vector<Owner> owners_;
  std::vector<int32_t> last_tokens_;
  Owner next_owner_ = 0;
  std::vector<int32_t> arena_;

  mutable Mutex mutex_;
  int steps_ GUARDED_BY(mutex_) = 0;
  int steps_planned_ahead_ GUARDED_BY(mutex_) = 0;
  int split_steps_ GUARDED_BY(mutex_) = 0;
  int dropped_steps_ GUARDED_BY(mutex_) = 0;
  absl::Status next_status_ GUARDED_BY(mutex_);
  absl::Status sampling_status_ GUARDED_BY(mutex_);
  bool failed_ GUARDED_BY(mutex_) = false;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_ENGINE_TESTING_FAKE_STEP_EXECUTOR_H_
