#include "worker/engine/reasoning_budget.h"

#include <utility>

#include "absl/status/status.h"
#include "kernels/step_batch.h"

namespace phalanx {

using State = ThinkWatch::State;

absl::StatusOr<std::unique_ptr<ReasoningBudget>> ReasoningBudget::Create(
    std::shared_ptr<const ConstraintVocabulary> vocabulary, ReasoningLimit limit) {
  ThinkWatch watch(State::kThinking);
  for (const int32_t token : limit.close_token_ids) watch.Accept(vocabulary->TextOf(token));
  if (watch.state() != State::kAnswer) {
    return absl::InvalidArgumentError(
        "close_token_ids: the text of these tokens does not close a think block");
  }
  return std::unique_ptr<ReasoningBudget>(
      new ReasoningBudget(std::move(vocabulary), std::move(limit)));
}

ReasoningBudget::ReasoningBudget(std::shared_ptr<const ConstraintVocabulary> vocabulary,
                                 ReasoningLimit limit)
    : vocabulary_(std::move(vocabulary)),
      limit_(std::move(limit)),
      watch_(limit_.opened_by_prompt ? State::kThinking : State::kBeginning) {}

int32_t ReasoningBudget::next() const {
  const bool closes = watch_.state() == State::kThinking && tokens_ >= limit_.max_tokens &&
                      closing_ < limit_.close_token_ids.size();
  return closes ? limit_.close_token_ids[closing_] : kernels::kNotForced;
}

void ReasoningBudget::Accept(int32_t token) {
  if (watch_.state() == State::kAnswer) return;
  if (next() != kernels::kNotForced) ++closing_;
  ++tokens_;
  watch_.Accept(vocabulary_->TextOf(token));
}

}  // namespace phalanx
