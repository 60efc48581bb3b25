#include "model/text/turn_ends.h"

#include <algorithm>
#include <cstddef>
#include <iterator>

#include "absl/strings/match.h"
#include "absl/strings/string_view.h"

namespace phalanx {
namespace {

// In this order: SmolLM2 and Qwen2; Phi-4-mini; Llama 3, and Llama 3 where it calls a tool;
// DeepSeek; the ends of texts that models learnt from.
constexpr absl::string_view kSpellings[] = {
    "<|im_end|>",
    "<|end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<\uff5cend\u2581of\u2581sentence\uff5c>",
    "<|endoftext|>",
    "<|end_of_text|>",
};

}  // namespace

bool IsOrdinaryText(const TokenizerAssets& assets, int32_t id) {
  if (assets.token_kinds[id] != TokenKind::kNormal) return false;
  const absl::string_view bytes = assets.token_bytes[id];
  // A byte is a token without any merge.
  if (bytes.size() == 1) return true;
  return std::any_of(assets.merges.begin(), assets.merges.end(), [&](const auto& merge) {
    const absl::string_view left = assets.token_bytes[merge.first];
    const absl::string_view right = assets.token_bytes[merge.second];
    return left.size() + right.size() == bytes.size() && absl::StartsWith(bytes, left) &&
           absl::EndsWith(bytes, right);
  });
}

std::vector<int32_t> TurnEnds(const TokenizerAssets& assets,
                              std::initializer_list<int32_t> named_ids) {
  std::vector<int32_t> ids;
  for (size_t i = 0; i < assets.token_bytes.size(); ++i) {
    const auto id = static_cast<int32_t>(i);
    const bool is_named = std::find(named_ids.begin(), named_ids.end(), id) != named_ids.end();
    const bool is_spelled = assets.token_kinds[id] != TokenKind::kUnused &&
                            std::find(std::begin(kSpellings), std::end(kSpellings),
                                      assets.token_bytes[id]) != std::end(kSpellings) &&
                            !IsOrdinaryText(assets, id);
    if (is_named || is_spelled) ids.push_back(id);
  }
  return ids;
}

void PromoteToControl(int32_t id, TokenizerAssets& assets) {
  TokenKind& kind = assets.token_kinds[id];
  if (kind == TokenKind::kControl || kind == TokenKind::kUnused) return;
  if (IsOrdinaryText(assets, id)) return;
  kind = TokenKind::kControl;
  assets.promoted_token_ids.push_back(id);
}

}  // namespace phalanx
