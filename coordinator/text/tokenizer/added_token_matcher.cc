#include "coordinator/text/tokenizer/added_token_matcher.h"

#include <algorithm>
#include <string>

#include "coordinator/text/tokenizer/unicode.h"

namespace phalanx {
namespace {

constexpr int32_t kNone = -1;

uint64_t ChildKey(uint32_t node, char byte) {
  return static_cast<uint64_t>(node) << 8 | static_cast<uint8_t>(byte);
}

// Where the white space at the end of `text` begins.
size_t TrailingSpaceBegin(absl::string_view text) {
  size_t begin = text.size();
  while (begin > 0) {
    const size_t bytes = LastCharBytes(text.substr(0, begin));
    if (FirstChar(text.substr(begin - bytes)).char_class != CharClass::kSpace) break;
    begin -= bytes;
  }
  return begin;
}

size_t LeadingSpaceEnd(absl::string_view text) {
  size_t end = 0;
  while (end < text.size()) {
    const Char next = FirstChar(text.substr(end));
    if (next.char_class != CharClass::kSpace) break;
    end += next.bytes;
  }
  return end;
}

bool IsWithinWord(absl::string_view text, TextSpan span) {
  const absl::string_view before = text.substr(0, span.begin);
  const absl::string_view after = text.substr(span.end);
  return (!before.empty() && IsWordChar(before.substr(before.size() - LastCharBytes(before)))) ||
         (!after.empty() && IsWordChar(after));
}

}  // namespace

AddedTokenMatcher::AddedTokenMatcher(const TokenizerAssets* assets, absl::Span<const int32_t> ids)
    : assets_(assets), token_of_node_(1, kNone) {
  for (const int32_t id : ids) {
    const std::string& spelling = assets->token_bytes[id];
    if (spelling.empty()) continue;
    begins_token_[static_cast<uint8_t>(spelling[0])] = true;
    uint32_t node = 0;
    for (const char byte : spelling) {
      const auto [child, is_new] =
          children_.try_emplace(ChildKey(node, byte), static_cast<uint32_t>(token_of_node_.size()));
      if (is_new) token_of_node_.push_back(kNone);
      node = child->second;
    }
    // Of several tokens with the same spelling the first counts.
    if (token_of_node_[node] == kNone) token_of_node_[node] = id;
  }
}

int32_t AddedTokenMatcher::LongestAt(absl::string_view text, size_t control_bytes) const {
  int32_t longest = kNone;
  uint32_t node = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto child = children_.find(ChildKey(node, text[i]));
    if (child == children_.end()) break;
    node = child->second;
    const int32_t id = token_of_node_[node];
    if (id == kNone) continue;
    if (assets_->token_kinds[id] == TokenKind::kControl && i + 1 > control_bytes) continue;
    longest = id;
  }
  return longest;
}

std::vector<AddedTokenMatcher::Match> AddedTokenMatcher::FindAll(
    absl::string_view text, absl::Span<const TextSpan> caller_spans) const {
  std::vector<Match> matches;
  const auto* span = caller_spans.begin();
  size_t done = 0;
  for (size_t at = 0; at < text.size();) {
    if (!begins_token_[static_cast<uint8_t>(text[at])]) {
      ++at;
      continue;
    }
    while (span != caller_spans.end() && span->end <= at) ++span;
    // A control token has to end before the next byte that a caller wrote. At such a byte this
    // leaves it no room at all.
    const size_t next_caller_byte =
        span == caller_spans.end() ? text.size() : std::max(at, span->begin);
    const int32_t id = LongestAt(text.substr(at), next_caller_byte - at);
    if (id == kNone) {
      ++at;
      continue;
    }
    TextSpan found = {at, at + assets_->token_bytes[id].size()};
    at = found.end;
    const auto entry = assets_->added_token_rules.find(id);
    if (entry != assets_->added_token_rules.end()) {
      const AddedTokenRules& rules = entry->second;
      // As in Hugging Face tokenizers, the search goes on behind such a spelling: a shorter token
      // within it is not looked for.
      if (rules.single_word && IsWithinWord(text, found)) continue;
      if (rules.lstrip) {
        // White space that the token before has taken is not taken again.
        found.begin = done + TrailingSpaceBegin(text.substr(done, found.begin - done));
      }
      if (rules.rstrip) found.end += LeadingSpaceEnd(text.substr(found.end));
    }
    matches.push_back({found, id});
    at = done = found.end;
  }
  return matches;
}

}  // namespace phalanx
