#include "coordinator/text/tokenizer/tokenizer.h"

#include <cstddef>
#include <string>
#include <utility>

#include "base/status.h"
#include "coordinator/text/tokenizer/make_pre_tokenizer.h"
#include "coordinator/text/tokenizer/nfc.h"
#include "coordinator/text/tokenizer/token_spans.h"

namespace phalanx {
namespace {

constexpr size_t kBytesBetweenChecks = 4096;

// Returns the added tokens that are looked for in normalized text, or the others.
std::vector<int32_t> AddedTokens(const TokenizerAssets& assets, bool normalized) {
  std::vector<int32_t> ids;
  for (size_t i = 0; i < assets.token_kinds.size(); ++i) {
    const auto id = static_cast<int32_t>(i);
    const TokenKind kind = assets.token_kinds[i];
    if (kind != TokenKind::kControl && kind != TokenKind::kUserDefined) continue;
    const auto rules = assets.added_token_rules.find(id);
    const bool is_normalized = kind == TokenKind::kUserDefined &&
                               rules != assets.added_token_rules.end() && rules->second.normalized;
    if (is_normalized == normalized) ids.push_back(id);
  }
  return ids;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::Create(TokenizerAssets assets) {
  if (assets.token_bytes.size() != assets.token_kinds.size()) {
    return absl::InvalidArgumentError("the tokenizer has not as many kinds as tokens");
  }
  if (assets.add_bos && (assets.bos_token_id < 0 ||
                         static_cast<size_t>(assets.bos_token_id) >= assets.token_bytes.size())) {
    return absl::InvalidArgumentError("the tokenizer is to add a bos token and has none");
  }
  ASSIGN_OR_RETURN(std::unique_ptr<PreTokenizer> pre_tokenizer,
                   MakePreTokenizer(assets.split_rules));
  std::unique_ptr<Tokenizer> tokenizer(new Tokenizer(std::move(assets), std::move(pre_tokenizer)));
  // The encoder holds views of the assets' strings, so it is made once these are where they stay.
  ASSIGN_OR_RETURN(BytePairEncoder encoder, BytePairEncoder::Create(tokenizer->assets_));
  tokenizer->encoder_ = std::make_unique<BytePairEncoder>(std::move(encoder));
  return tokenizer;
}

Tokenizer::Tokenizer(TokenizerAssets assets, std::unique_ptr<PreTokenizer> pre_tokenizer)
    : assets_(std::move(assets)),
      pre_tokenizer_(std::move(pre_tokenizer)),
      added_tokens_(&assets_, AddedTokens(assets_, /*normalized=*/false)),
      normalized_added_tokens_(&assets_, AddedTokens(assets_, /*normalized=*/true)) {}

absl::StatusOr<std::vector<int32_t>> Tokenizer::Encode(absl::string_view text,
                                                       ControlSpelling control,
                                                       const std::atomic<bool>* cancelled,
                                                       std::vector<TextSpan>* spans) const {
  Output output{.token_ids = {}, .cancelled = cancelled, .spans = spans};
  if (assets_.add_bos) {
    output.token_ids.push_back(assets_.bos_token_id);
    if (spans != nullptr) spans->push_back({0, 0});
  }
  // As plain text, all of it is the caller's.
  const TextSpan all{0, text.size()};
  RETURN_IF_ERROR(AppendRendered(
      text, absl::MakeConstSpan(&all, control == ControlSpelling::kPlainText ? 1 : 0), &output));
  return std::move(output.token_ids);
}

absl::StatusOr<std::vector<int32_t>> Tokenizer::EncodeRendered(
    absl::string_view text, absl::Span<const TextSpan> caller_spans,
    const std::atomic<bool>* cancelled, std::vector<TextSpan>* spans) const {
  Output output{.token_ids = {}, .cancelled = cancelled, .spans = spans};
  RETURN_IF_ERROR(AppendRendered(text, caller_spans, &output));
  return std::move(output.token_ids);
}

absl::Status Tokenizer::AppendRendered(absl::string_view text,
                                       absl::Span<const TextSpan> caller_spans,
                                       Output* output) const {
  size_t done = 0;
  for (const AddedTokenMatcher::Match& match : added_tokens_.FindAll(text, caller_spans)) {
    RETURN_IF_ERROR(AppendPlain(text.substr(done, match.span.begin - done), done, output));
    AppendAddedToken(match, 0, output);
    done = match.span.end;
  }
  return AppendPlain(text.substr(done), done, output);
}

void Tokenizer::AppendAddedToken(const AddedTokenMatcher::Match& match, size_t begin,
                                 Output* output) {
  output->token_ids.push_back(match.id);
  if (output->spans == nullptr) return;
  output->spans->push_back({begin + match.span.begin, begin + match.span.end});
}

absl::Status Tokenizer::AppendPlain(absl::string_view text, size_t begin, Output* output) const {
  if (!assets_.normalizes_to_nfc || IsPlainlyNfc(text)) {
    return AppendNormalized(text, begin, output);
  }
  if (output->spans == nullptr) return AppendNormalized(ToNfc(text), 0, output);
  const size_t first = output->spans->size();
  RETURN_IF_ERROR(AppendNormalized(ToNfc(text), 0, output));
  MapFromNfc(AlignNfc(text), begin, absl::MakeSpan(*output->spans).subspan(first));
  return absl::OkStatus();
}

absl::Status Tokenizer::AppendNormalized(absl::string_view text, size_t begin,
                                         Output* output) const {
  if (normalized_added_tokens_.empty()) return AppendWords(text, begin, output);
  size_t done = 0;
  // The places of callers' spans are of the text before normalization. They are not needed, since
  // none of these tokens is a control token.
  for (const AddedTokenMatcher::Match& match : normalized_added_tokens_.FindAll(text, {})) {
    RETURN_IF_ERROR(AppendWords(text.substr(done, match.span.begin - done), begin + done, output));
    AppendAddedToken(match, begin, output);
    done = match.span.end;
  }
  return AppendWords(text.substr(done), begin + done, output);
}

absl::Status Tokenizer::AppendWords(absl::string_view text, size_t begin, Output* output) const {
  size_t unchecked_bytes = 0;
  bool cancelled = output->cancelled != nullptr && *output->cancelled;
  const absl::Status status = pre_tokenizer_->Split(text, [&](absl::string_view piece) {
    unchecked_bytes += piece.size();
    if (unchecked_bytes >= kBytesBetweenChecks) {
      unchecked_bytes = 0;
      cancelled = output->cancelled != nullptr && *output->cancelled;
    }
    // Splitting cannot be stopped here and goes on, but it is the lesser part of the work.
    if (cancelled) return;
    const size_t first = output->token_ids.size();
    encoder_->Encode(piece, &output->token_ids);
    if (output->spans == nullptr) return;
    AppendSpans(assets_, piece, begin + static_cast<size_t>(piece.data() - text.data()),
                absl::MakeConstSpan(output->token_ids).subspan(first), output->spans);
  });
  return cancelled ? absl::CancelledError("nobody waits for the tokens any more") : status;
}

}  // namespace phalanx
