// Turns token ids into text while they come.
#ifndef PHALANX_COORDINATOR_TEXT_ANSWER_DETOKENIZER_H_
#define PHALANX_COORDINATOR_TEXT_ANSWER_DETOKENIZER_H_

#include <cstdint>
#include <string>

#include "absl/types/span.h"
#include "model/text/tokenizer_assets.h"

namespace phalanx {

// Thread-compatible. The pieces that it returns, put together, are the tokens' bytes decoded as
// UTF-8, with U+FFFD in place of each maximal ill-formed part. They are the same text no matter how
// the tokens were dealt out over calls.
class Detokenizer {
 public:
  enum class ControlTokens {
    kHide,   // Control tokens and those that end a turn have no text.
    kSpell,  // Their text is their spelling.
  };

  // `assets` is lent and must outlive the detokenizer, and so is `spelled`: the control tokens,
  // ascending, whose text is their spelling even with kHide.
  Detokenizer(const TokenizerAssets* assets, ControlTokens control_tokens,
              absl::Span<const int32_t> spelled = {})
      : assets_(assets), control_tokens_(control_tokens), spelled_(spelled) {}

  // Returns the text that is certain now. Bytes that later ones may complete to a character are
  // held back (three at most). Ids outside the vocabulary and padding have no text.
  std::string Push(absl::Span<const int32_t> token_ids);

  // To be called at the end. Returns U+FFFD for the incomplete character that was held back, if
  // any.
  std::string Flush();

 private:
  // Whether the token has no text.
  bool IsHidden(int32_t id) const;

  const TokenizerAssets* const assets_;
  const ControlTokens control_tokens_;
  const absl::Span<const int32_t> spelled_;
  std::string pending_;
};

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_TEXT_ANSWER_DETOKENIZER_H_
