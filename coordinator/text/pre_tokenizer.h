// Cuts text into the pieces that byte-pair merges stay within.
#ifndef PHALANX_COORDINATOR_TEXT_PRE_TOKENIZER_H_
#define PHALANX_COORDINATOR_TEXT_PRE_TOKENIZER_H_

#include <functional>

#include "absl/strings/string_view.h"
#include "model/tokenizer_assets.h"

namespace phalanx {

// Calls `piece` for each piece in order; together they are `text`. Linear in its length.
//
// kSmolLm: each character of \p{N} is a piece; what is between is cut by GPT-2's pattern
//   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
// as if it were a text of its own. Source: SmolLM2's tokenizer.json (Digits, then ByteLevel).
void PreTokenize(PreTokenizer kind, absl::string_view text,
                 const std::function<void(absl::string_view)>& piece);

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_TEXT_PRE_TOKENIZER_H_
