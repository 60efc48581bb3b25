#include "coordinator/text/tokenizer.h"

#include <cstddef>
#include <string>
#include <utility>

#include "base/status.h"
#include "coordinator/text/nfc.h"

namespace phalanx {
namespace {

// Added tokens that are looked for in normalized text, or the others.
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
                                                       ControlSpelling control) const {
  std::vector<int32_t> token_ids;
  if (assets_.add_bos) token_ids.push_back(assets_.bos_token_id);
  const TextSpan all{0, text.size()};
  RETURN_IF_ERROR(AppendRendered(
      text, absl::MakeConstSpan(&all, control == ControlSpelling::kPlainText ? 1 : 0), &token_ids));
  return token_ids;
}

absl::StatusOr<std::vector<int32_t>> Tokenizer::EncodeRendered(
    absl::string_view text, absl::Span<const TextSpan> caller_spans) const {
  std::vector<int32_t> token_ids;
  RETURN_IF_ERROR(AppendRendered(text, caller_spans, &token_ids));
  return token_ids;
}

absl::Status Tokenizer::AppendRendered(absl::string_view text,
                                       absl::Span<const TextSpan> caller_spans,
                                       std::vector<int32_t>* token_ids) const {
  size_t done = 0;
  for (const AddedTokenMatcher::Match& match : added_tokens_.FindAll(text, caller_spans)) {
    RETURN_IF_ERROR(AppendPlain(text.substr(done, match.span.begin - done), token_ids));
    token_ids->push_back(match.id);
    done = match.span.end;
  }
  return AppendPlain(text.substr(done), token_ids);
}

absl::Status Tokenizer::AppendPlain(absl::string_view text, std::vector<int32_t>* token_ids) const {
  std::string nfc;
  if (assets_.normalizes_to_nfc && !IsPlainlyNfc(text)) {
    nfc = ToNfc(text);
    text = nfc;
  }
  if (normalized_added_tokens_.empty()) return AppendWords(text, token_ids);
  size_t done = 0;
  for (const AddedTokenMatcher::Match& match : normalized_added_tokens_.FindAll(text, {})) {
    RETURN_IF_ERROR(AppendWords(text.substr(done, match.span.begin - done), token_ids));
    token_ids->push_back(match.id);
    done = match.span.end;
  }
  return AppendWords(text.substr(done), token_ids);
}

absl::Status Tokenizer::AppendWords(absl::string_view text, std::vector<int32_t>* token_ids) const {
  return pre_tokenizer_->Split(
      text, [&](absl::string_view piece) { encoder_->Encode(piece, token_ids); });
}

}  // namespace phalanx
