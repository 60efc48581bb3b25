// Whether, and how far ahead, one sequence guesses its next tokens.
//
// A draft is a guess of the next tokens, by NgramDrafter. It is computed in one step, and those of
// its tokens that are drawn anyway are taken: so it costs time if it is wrong, and never changes an
// answer.
//
// How long drafts are: the first has up to kFirstDraft tokens. After one that was right to the end
// the next may have twice as many, up to the maximum; else as many as were right, at least one.
//
// When it stops: as soon as kRoundTokens tokens have been drafted, they are looked at. If less than
// a quarter of them were right, nothing is drafted for the next kFirstPause tokens of the answer,
// twice as many the next time, and so on. Else they count half from then on, so that one long draft
// that is wrong does not stop what went well, and the next pause is kFirstPause again. An answer
// that cannot be guessed costs a round for each time that it doubles.
#ifndef PHALANX_WORKER_ENGINE_SPECULATION_H_
#define PHALANX_WORKER_ENGINE_SPECULATION_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/types/span.h"
#include "worker/engine/ngram_drafter.h"

namespace phalanx {

// Thread-compatible. Deterministic: depends on the calls so far and nothing else.
class Speculation {
 public:
  static constexpr int kFirstDraft = 2;
  static constexpr int kRoundTokens = 16;
  static constexpr int kFirstPause = 64;

  // `max_draft_tokens` must be at least 1.
  explicit Speculation(int max_draft_tokens);

  // Takes in up to `most` further tokens of the text, the prompt and the answer, of which each call
  // gets all that is known. Returns how many.
  int Read(absl::Span<const int32_t> text, int most);

  // Whether there is a draft for what follows the text that was read last.
  bool has_draft() const { return match_.has_value(); }

  // Appends the draft for what follows `tokens`, up to `most` tokens of it, and returns how many:
  // none if there is no draft, or `tokens` are not what was read last.
  int AppendDraft(std::vector<int32_t>& tokens, int most) const;

  // The first `accepted` of `drafted` tokens were right. Now the text has `num_tokens`.
  void Note(int drafted, int accepted, int num_tokens);

 private:
  const int max_draft_tokens_;
  NgramDrafter drafter_;
  // Of the text that was read, if all of it was and nothing is to be waited for.
  std::optional<int> match_;
  // How many tokens the next draft may have.
  int length_;
  // Since the last pause, older ones halved.
  int drafted_ = 0;
  int accepted_ = 0;
  // Nothing is drafted before the text has this many tokens.
  int paused_until_ = 0;
  int next_pause_ = kFirstPause;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_ENGINE_SPECULATION_H_
