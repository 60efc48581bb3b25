// A constraint of an answer that may come after reasoning.
#ifndef PHALANX_WORKER_CONSTRAINT_ANSWER_CONSTRAINT_H_
#define PHALANX_WORKER_CONSTRAINT_ANSWER_CONSTRAINT_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "worker/constraint/constraint.h"
#include "worker/constraint/constraint_source.h"
#include "worker/constraint/think_watch.h"

namespace phalanx {

// Says which of a model's tokens may be drawn next. Until the answer begins these are all but those
// that would end it: a model that stopped while it thinks would give no answer. The answer begins
// with the token after the one that completes "</think>".
//
// Where a think block may begin but has not, a token may go on towards "<think>", perhaps after
// white space, or begin the answer.
//
// Thread-compatible.
class AnswerConstraint {
 public:
  // `constraint` is at the beginning of its text.
  AnswerConstraint(std::unique_ptr<Constraint> constraint, AnswerBegin begin);

  // One at the same place. What is learnt about the grammar is shared, see Constraint.
  AnswerConstraint Copy() const;

  // Sets the bits of the tokens that may come next and clears all others; `bits` is as in
  // Constraint::Mask. If the constraint has failed, no bit is set, and status() tells why.
  void WriteMask(absl::Span<uint32_t> bits);

  // Goes on by a token that was drawn, which the mask should have allowed: if not, and the answer
  // has begun, the constraint fails.
  void Accept(int32_t token);

  // INVALID_ARGUMENT with the reason after the constraint has failed, see Constraint::Mask.
  const absl::Status& status() const { return status_; }

  // Whether only tokens that end the answer may come next.
  bool finished() const;

 private:
  enum class State { kUndecided, kThinking, kAnswer };

  AnswerConstraint() = default;

  void WriteAllButEnds(absl::Span<uint32_t> bits) const;
  void AddOpeningTokens(absl::Span<uint32_t> bits) const;
  void AcceptUndecided(int32_t token);
  void AcceptThinking(absl::string_view text);

  State state_ = State::kAnswer;
  // While undecided: the text so far, which is white space and a part of "<think>".
  std::string opening_;
  // While undecided: a constraint at the beginning, and whether the other one has followed so far.
  std::unique_ptr<Constraint> fresh_;
  bool answer_possible_ = true;
  // While thinking.
  ThinkWatch block_{ThinkWatch::State::kThinking};
  std::unique_ptr<Constraint> constraint_;
  absl::Status status_;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_CONSTRAINT_ANSWER_CONSTRAINT_H_
