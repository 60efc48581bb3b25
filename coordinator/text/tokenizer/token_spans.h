// Which bytes of a text its tokens stand for.
#ifndef PHALANX_COORDINATOR_TEXT_TOKENIZER_TOKEN_SPANS_H_
#define PHALANX_COORDINATOR_TEXT_TOKENIZER_TOKEN_SPANS_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "coordinator/text/tokenizer/nfc.h"
#include "coordinator/text/tokenizer/text_span.h"
#include "model/text/tokenizer_assets.h"

namespace phalanx {

// Appends the span of each token of `token_ids`, which are the encoding of `piece`, to `spans`.
// Bytes of the piece that no token has, because the vocabulary lacks them, are in no span or inside
// of one. `begin` is where the piece begins in the text.
void AppendSpans(const TokenizerAssets& assets, absl::string_view piece, size_t begin,
                 absl::Span<const int32_t> token_ids, std::vector<TextSpan>* spans);

// Turns spans of a text's form NFC into spans of the text, which begins at `begin` of a longer one.
// Those that touch a changed piece take in all of it.
void MapFromNfc(absl::Span<const NfcPiece> pieces, size_t begin, absl::Span<TextSpan> spans);

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_TEXT_TOKENIZER_TOKEN_SPANS_H_
