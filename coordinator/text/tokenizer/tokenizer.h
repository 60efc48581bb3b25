// Turns text into token ids as Hugging Face tokenizers does, but for one thing: text from callers
// never becomes a control token unless that was asked for.
#ifndef PHALANX_COORDINATOR_TEXT_TOKENIZER_TOKENIZER_H_
#define PHALANX_COORDINATOR_TEXT_TOKENIZER_TOKENIZER_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "coordinator/text/tokenizer/added_token_matcher.h"
#include "coordinator/text/tokenizer/byte_pair_encoder.h"
#include "coordinator/text/tokenizer/pre_tokenizer.h"
#include "model/text/tokenizer_assets.h"

namespace phalanx {

// What the spelling of a control token in a text stands for.
enum class ControlSpelling {
  kPlainText,
  kToken,
};

// Thread-safe; immutable.
class Tokenizer {
 public:
  // INVALID_ARGUMENT if the assets contradict themselves. Also the errors of MakePreTokenizer.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Create(TokenizerAssets assets);
  Tokenizer(const Tokenizer&) = delete;
  Tokenizer& operator=(const Tokenizer&) = delete;

  // Returns the tokens of a caller's text that is no chat, after the bos token if the model wants
  // one. The errors of PreTokenizer::Split, and CANCELLED if another thread sets `cancelled` (may
  // be null), which is looked at every few thousand bytes.
  //
  // If `spans` is not null it gets, for each token, the bytes of `text` that it stands for: empty
  // for a bos token, with the white space that an added token takes, and where normalization
  // changed a character, all of that with the marks behind it.
  absl::StatusOr<std::vector<int32_t>> Encode(absl::string_view text,
                                              ControlSpelling control = ControlSpelling::kPlainText,
                                              const std::atomic<bool>* cancelled = nullptr,
                                              std::vector<TextSpan>* spans = nullptr) const;

  // Returns the tokens of a text that a chat template wrote around what callers said, and no
  // others: a bos token is the template's affair. Spellings of control tokens become these tokens
  // unless they touch one of `caller_spans`, which are ascending and do not overlap. Errors,
  // `cancelled` and `spans` are those of Encode.
  absl::StatusOr<std::vector<int32_t>> EncodeRendered(absl::string_view text,
                                                      absl::Span<const TextSpan> caller_spans,
                                                      const std::atomic<bool>* cancelled = nullptr,
                                                      std::vector<TextSpan>* spans = nullptr) const;

  const TokenizerAssets& assets() const { return assets_; }

 private:
  Tokenizer(TokenizerAssets assets, std::unique_ptr<PreTokenizer> pre_tokenizer);

  // The result of one call, while it is made.
  struct Output {
    std::vector<int32_t> token_ids;
    const std::atomic<bool>* cancelled = nullptr;
    // Null if nobody asks for them.
    std::vector<TextSpan>* spans = nullptr;
  };

  absl::Status AppendRendered(absl::string_view text, absl::Span<const TextSpan> caller_spans,
                              Output* output) const;
  // `begin` is where the text begins in that of the call; spans are of the latter.
  // For text without tokens of `added_tokens_`.
  absl::Status AppendPlain(absl::string_view text, size_t begin, Output* output) const;
  // For text that is normalized.
  absl::Status AppendNormalized(absl::string_view text, size_t begin, Output* output) const;
  // For text that is normalized, and without added tokens.
  absl::Status AppendWords(absl::string_view text, size_t begin, Output* output) const;
  static void AppendAddedToken(const AddedTokenMatcher::Match& match, size_t begin, Output* output);

  const TokenizerAssets assets_;
  const std::unique_ptr<PreTokenizer> pre_tokenizer_;
  // Added tokens that are looked for in the text as it is, and those that are looked for once it is
  // normalized. All control tokens are of the first kind: what normalization makes of a text is
  // never one.
  const AddedTokenMatcher added_tokens_;
  const AddedTokenMatcher normalized_added_tokens_;
  std::unique_ptr<BytePairEncoder> encoder_;
};

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_TEXT_TOKENIZER_TOKENIZER_H_
