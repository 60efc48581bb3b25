// The limit of an answer's reasoning as a rule of the engine.
#ifndef PHALANX_WORKER_ENGINE_REASONING_BUDGET_H_
#define PHALANX_WORKER_ENGINE_REASONING_BUDGET_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "model/generation/generation_options.h"
#include "worker/constraint/constraint_vocabulary.h"
#include "worker/constraint/think_watch.h"
#include "worker/engine/token_rules.h"

namespace phalanx {

// Engine thread only.
class ReasoningBudget final : public TokenForcer {
 public:
  // `vocabulary` is the model's. INVALID_ARGUMENT if the limit's close_token_ids do not close a
  // block.
  static absl::StatusOr<std::unique_ptr<ReasoningBudget>> Create(
      std::shared_ptr<const ConstraintVocabulary> vocabulary, ReasoningLimit limit);

  // While the block is open and has used up its tokens: the next token that closes it. Tokens that
  // close it by another spelling end this too.
  int32_t next() const override;
  void Accept(int32_t token) override;
  std::unique_ptr<TokenForcer> Copy() const override {
    return std::unique_ptr<TokenForcer>(new ReasoningBudget(*this));
  }

 private:
  ReasoningBudget(std::shared_ptr<const ConstraintVocabulary> vocabulary, ReasoningLimit limit);

  const std::shared_ptr<const ConstraintVocabulary> vocabulary_;
  const ReasoningLimit limit_;
  ThinkWatch watch_;
  // Of the answer, as far as they matter: none is counted once the block is closed.
  int32_t tokens_ = 0;
  // How many of close_token_ids have been forced.
  size_t closing_ = 0;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_ENGINE_REASONING_BUDGET_H_
