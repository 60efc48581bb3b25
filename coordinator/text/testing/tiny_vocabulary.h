// A vocabulary that fits on a page, for tests of the tokenizer and what builds on it.
#ifndef PHALANX_COORDINATOR_TEXT_TESTING_TINY_VOCABULARY_H_
#define PHALANX_COORDINATOR_TEXT_TESTING_TINY_VOCABULARY_H_

#include <string>
#include <utility>

#include "model/text/split_patterns.h"
#include "model/text/tokenizer_assets.h"

namespace phalanx {

// Ids 0 to 255 are the bytes. Then come "ab", "abc", "bc", "aa" and "aaaa", with merges in this
// order, the control tokens <|a|> and <|a|>>, and the user-defined token "[tool]".
inline constexpr int32_t kAb = 256;
inline constexpr int32_t kAbc = 257;
inline constexpr int32_t kBc = 258;
inline constexpr int32_t kAa = 259;
inline constexpr int32_t kAaaa = 260;
inline constexpr int32_t kControl = 261;
inline constexpr int32_t kLongControl = 262;
inline constexpr int32_t kUserToken = 263;

inline TokenizerAssets TinyVocabulary() {
  TokenizerAssets assets;
  assets.split_rules = {{kDigitPattern}, {kGpt2Pattern}};
  const auto add = [&](std::string bytes, TokenKind kind) {
    assets.token_bytes.push_back(std::move(bytes));
    assets.token_kinds.push_back(kind);
  };
  for (int byte = 0; byte < 256; ++byte) {
    add(std::string(1, static_cast<char>(byte)), TokenKind::kNormal);
  }
  for (const char* token : {"ab", "abc", "bc", "aa", "aaaa"}) add(token, TokenKind::kNormal);
  add("<|a|>", TokenKind::kControl);
  add("<|a|>>", TokenKind::kControl);
  add("[tool]", TokenKind::kUserDefined);
  assets.merges = {{'a', 'b'}, {kAb, 'c'}, {'b', 'c'}, {'a', 'a'}, {kAa, kAa}};
  return assets;
}

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_TEXT_TESTING_TINY_VOCABULARY_H_
