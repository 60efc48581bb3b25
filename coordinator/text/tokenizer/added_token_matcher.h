// Finds the spellings of added tokens in text.
#ifndef PHALANX_COORDINATOR_TEXT_TOKENIZER_ADDED_TOKEN_MATCHER_H_
#define PHALANX_COORDINATOR_TEXT_TOKENIZER_ADDED_TOKEN_MATCHER_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "coordinator/text/tokenizer/text_span.h"
#include "model/text/tokenizer_assets.h"

namespace phalanx {

// Thread-safe; immutable. The rules of the tokens mean what `find_matches` in Hugging Face
// tokenizers, tokenizer/added_vocabulary.rs, makes of them.
class AddedTokenMatcher {
 public:
  struct Match {
    // The spelling, with the white space that the token takes. The spans of matches ascend and do
    // not overlap.
    TextSpan span;
    int32_t id = 0;
  };

  // Looks for the tokens of `ids`. `assets` is lent and must outlive the matcher.
  AddedTokenMatcher(const TokenizerAssets* assets, absl::Span<const int32_t> ids);

  bool empty() const { return token_of_node_.size() == 1; }

  // Finds the leftmost tokens, and of those that begin at the same byte the longest. Control tokens
  // do not count if their spelling touches one of `caller_spans`, which are ascending and do not
  // overlap.
  std::vector<Match> FindAll(absl::string_view text, absl::Span<const TextSpan> caller_spans) const;

 private:
  // The longest token whose spelling `text` begins with, or -1. Control tokens count only if they
  // end within the first `control_bytes` bytes.
  int32_t LongestAt(absl::string_view text, size_t control_bytes) const;

  const TokenizerAssets* const assets_;
  // A trie. children_ has the child node for a parent node and a byte. token_of_node_ has the token
  // whose spelling ends at a node, or -1.
  absl::flat_hash_map<uint64_t, uint32_t> children_;
  std::vector<int32_t> token_of_node_;
  std::array<bool, 256> begins_token_{};
};

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_TEXT_TOKENIZER_ADDED_TOKEN_MATCHER_H_
