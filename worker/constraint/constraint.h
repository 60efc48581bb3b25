// What a constraint allows next in one text.
#ifndef PHALANX_WORKER_CONSTRAINT_CONSTRAINT_H_
#define PHALANX_WORKER_CONSTRAINT_CONSTRAINT_H_

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "worker/constraint/constraint_source.h"
#include "worker/constraint/constraint_vocabulary.h"

namespace phalanx {

// A place in a text that follows a constraint, at first its beginning.
//
// Thread-compatible: one thread at a time. Constraints that were copied from one another share what
// they have learnt about the grammar behind a lock, so calls of other threads may have to wait for
// a mask that is being made.
class Constraint {
 public:
  // Compiles on this thread, and makes the mask of the first token. INVALID_ARGUMENT with the
  // reason, for callers, if the text of `source` is none of its kind, asks for something that is
  // not supported, or is beyond a limit. Neither the time nor the memory of this call is bounded:
  // see ConstraintChecker.
  static absl::StatusOr<std::unique_ptr<Constraint>> Compile(
      std::shared_ptr<const ConstraintVocabulary> vocabulary, const ConstraintSource& source,
      const ConstraintLimits& limits);

  Constraint(const Constraint&) = delete;
  Constraint& operator=(const Constraint&) = delete;
  ~Constraint();

  // A constraint at the same place. This one may be used by other threads meanwhile only to copy
  // it.
  std::unique_ptr<Constraint> Copy() const;

  // Which tokens may come next: sets bit `id % 32` of bits[id / 32] for each and clears all other
  // bits. `bits` has vocabulary().mask_words() words. INVALID_ARGUMENT with the reason if the
  // grammar cannot go on within its limits, or with this model's tokens; all calls then fail.
  absl::Status Mask(absl::Span<uint32_t> bits);

  // Goes on by a token that was drawn. INVALID_ARGUMENT if it may not come next; all calls then
  // fail.
  absl::Status Accept(int32_t token);

  // Takes back the last `num_tokens` tokens that were accepted, which must be there.
  absl::Status Rollback(int num_tokens);

  // Whether only a token that ends the text may come next.
  bool finished() const;

  // Whether the text may end here.
  bool MayEnd();

  struct LexerSize {
    uint64_t states = 0;
    uint64_t bytes = 0;
  };
  // The work of the last call of Mask, Accept, Rollback or MayEnd, in the unit of
  // ConstraintLimits::step_max_work. It depends on what copies have learnt before.
  uint64_t last_work() const;

  // Of what it shares with its copies; grows with what texts have needed. The largest number of
  // states if a text has met a limit of the lexer, which then fails for all copies.
  LexerSize lexer_size() const;

  const ConstraintVocabulary& vocabulary() const { return *vocabulary_; }
  const std::shared_ptr<const ConstraintVocabulary>& shared_vocabulary() const {
    return vocabulary_;
  }

 private:
  Constraint(std::shared_ptr<const ConstraintVocabulary> vocabulary, void* handle);

  const std::shared_ptr<const ConstraintVocabulary> vocabulary_;
  void* const handle_;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_CONSTRAINT_CONSTRAINT_H_
