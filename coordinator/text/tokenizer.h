// Text to token ids, as Hugging Face tokenizers does it, but for one thing: text from callers never
// becomes a control token.
#ifndef PHALANX_COORDINATOR_TEXT_TOKENIZER_H_
#define PHALANX_COORDINATOR_TEXT_TOKENIZER_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "coordinator/text/byte_pair_encoder.h"
#include "model/tokenizer_assets.h"

namespace phalanx {

// Bytes [begin, end) of a text.
struct TextSpan {
  size_t begin = 0;
  size_t end = 0;
};

// Thread-safe; immutable.
class Tokenizer {
 public:
  // INVALID_ARGUMENT if the assets contradict themselves.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Create(TokenizerAssets assets);

  // The tokens of a caller's text: the spelling of a control token is plain text in it.
  std::vector<int32_t> Encode(absl::string_view text) const;

  // The tokens of a text that a chat template wrote around what callers said. Spellings of control
  // tokens become these tokens, the longest and leftmost first, unless they touch one of
  // `caller_spans`, which are ascending and do not overlap.
  std::vector<int32_t> EncodeRendered(absl::string_view text,
                                      absl::Span<const TextSpan> caller_spans) const;

  const TokenizerAssets& assets() const { return assets_; }

 private:
  // Tokens that are matched before merges, by first byte, longest first.
  using AddedTokens = std::array<std::vector<int32_t>, 256>;

  Tokenizer(TokenizerAssets assets, BytePairEncoder encoder);
  // The longest token whose spelling `text` begins with, or -1. Control tokens count only if they
  // end within the first `control_bytes` bytes.
  int32_t MatchAddedToken(absl::string_view text, size_t control_bytes) const;
  void EncodePlain(absl::string_view text, std::vector<int32_t>* token_ids) const;

  const TokenizerAssets assets_;
  const BytePairEncoder encoder_;
  AddedTokens added_tokens_;
};

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_TEXT_TOKENIZER_H_
