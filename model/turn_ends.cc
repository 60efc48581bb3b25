#include "model/turn_ends.h"

#include <algorithm>
#include <cstddef>
#include <iterator>

#include "absl/strings/string_view.h"

namespace phalanx {
namespace {

// Of SmolLM2 and Qwen2, Phi-4-mini, Llama 3 (the second where a tool is called), DeepSeek; and of
// texts that were learnt from.
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

std::vector<int32_t> TurnEnds(const TokenizerAssets& assets,
                              std::initializer_list<int32_t> named_ids) {
  std::vector<int32_t> ids;
  for (size_t id = 0; id < assets.token_bytes.size(); ++id) {
    const bool is_named =
        std::find(named_ids.begin(), named_ids.end(), static_cast<int32_t>(id)) != named_ids.end();
    const bool is_spelled = assets.token_kinds[id] == TokenKind::kControl &&
                            std::find(std::begin(kSpellings), std::end(kSpellings),
                                      assets.token_bytes[id]) != std::end(kSpellings);
    if (is_named || is_spelled) ids.push_back(static_cast<int32_t>(id));
  }
  return ids;
}

}  // namespace phalanx
