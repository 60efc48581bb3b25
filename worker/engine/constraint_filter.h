// A constraint as a rule of the engine.
#ifndef PHALANX_WORKER_ENGINE_CONSTRAINT_FILTER_H_
#define PHALANX_WORKER_ENGINE_CONSTRAINT_FILTER_H_

#include <cstdint>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "worker/constraint/answer_constraint.h"
#include "worker/constraint/constraint.h"
#include "worker/engine/token_rules.h"

namespace phalanx {

// Engine thread only.
class ConstraintFilter final : public TokenFilter {
 public:
  // `constraint` is at its beginning.
  ConstraintFilter(std::unique_ptr<Constraint> constraint, AnswerBegin begin)
      : mask_words_(constraint->vocabulary().mask_words()),
        constraint_(std::move(constraint), begin) {}

  int mask_words() const override { return mask_words_; }
  void WriteMask(absl::Span<uint32_t> words) override { constraint_.WriteMask(words); }
  void Accept(int32_t token) override { constraint_.Accept(token); }
  absl::Status status() const override { return constraint_.status(); }
  std::unique_ptr<TokenFilter> Copy() const override {
    return std::unique_ptr<TokenFilter>(new ConstraintFilter(mask_words_, constraint_.Copy()));
  }

 private:
  ConstraintFilter(int mask_words, AnswerConstraint constraint)
      : mask_words_(mask_words), constraint_(std::move(constraint)) {}

  const int mask_words_;
  AnswerConstraint constraint_;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_ENGINE_CONSTRAINT_FILTER_H_
