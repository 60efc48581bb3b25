#include "coordinator/text/tokenizer.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "base/status.h"
#include "coordinator/text/pre_tokenizer.h"

namespace phalanx {

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::Create(TokenizerAssets assets) {
  if (assets.token_bytes.size() != assets.token_kinds.size()) {
    return absl::InvalidArgumentError("the tokenizer has not as many kinds as tokens");
  }
  ASSIGN_OR_RETURN(BytePairEncoder encoder, BytePairEncoder::Create(assets));
  return std::unique_ptr<Tokenizer>(new Tokenizer(std::move(assets), std::move(encoder)));
}

Tokenizer::Tokenizer(TokenizerAssets assets, BytePairEncoder encoder)
    : assets_(std::move(assets)), encoder_(std::move(encoder)) {
  for (size_t id = 0; id < assets_.token_bytes.size(); ++id) {
    const TokenKind kind = assets_.token_kinds[id];
    const std::string& spelling = assets_.token_bytes[id];
    if (spelling.empty() || (kind != TokenKind::kControl && kind != TokenKind::kUserDefined)) {
      continue;
    }
    added_tokens_[static_cast<uint8_t>(spelling[0])].push_back(static_cast<int32_t>(id));
  }
  for (std::vector<int32_t>& ids : added_tokens_) {
    std::stable_sort(ids.begin(), ids.end(), [this](int32_t a, int32_t b) {
      return assets_.token_bytes[a].size() > assets_.token_bytes[b].size();
    });
  }
}

int32_t Tokenizer::MatchAddedToken(absl::string_view text, size_t control_bytes) const {
  for (const int32_t id : added_tokens_[static_cast<uint8_t>(text[0])]) {
    const std::string& spelling = assets_.token_bytes[id];
    const bool is_control = assets_.token_kinds[id] == TokenKind::kControl;
    if (is_control && spelling.size() > control_bytes) continue;
    if (absl::StartsWith(text, spelling)) return id;
  }
  return -1;
}

std::vector<int32_t> Tokenizer::Encode(absl::string_view text) const {
  const TextSpan all{0, text.size()};
  return EncodeRendered(text, absl::MakeConstSpan(&all, 1));
}

std::vector<int32_t> Tokenizer::EncodeRendered(absl::string_view text,
                                               absl::Span<const TextSpan> caller_spans) const {
  std::vector<int32_t> token_ids;
  auto span = caller_spans.begin();
  size_t plain_begin = 0;
  for (size_t at = 0; at < text.size();) {
    while (span != caller_spans.end() && span->end <= at) ++span;
    const size_t next_caller_byte =
        span == caller_spans.end() ? text.size() : std::max(at, span->begin);
    const int32_t id = MatchAddedToken(text.substr(at), next_caller_byte - at);
    if (id < 0) {
      ++at;
      continue;
    }
    EncodePlain(text.substr(plain_begin, at - plain_begin), &token_ids);
    token_ids.push_back(id);
    at += assets_.token_bytes[id].size();
    plain_begin = at;
  }
  EncodePlain(text.substr(plain_begin), &token_ids);
  return token_ids;
}

void Tokenizer::EncodePlain(absl::string_view text, std::vector<int32_t>* token_ids) const {
  PreTokenize(assets_.pre_tokenizer, text,
              [&](absl::string_view piece) { encoder_.Encode(piece, token_ids); });
}

}  // namespace phalanx
