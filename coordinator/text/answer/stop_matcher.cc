#include "coordinator/text/answer/stop_matcher.h"

#include <algorithm>
#include <utility>

namespace phalanx {
namespace {

// The prefix function of Knuth, Morris and Pratt, see StopMatcher::Pattern.
std::vector<size_t> BordersOf(absl::string_view text) {
  std::vector<size_t> border(text.size(), 0);
  for (size_t i = 1, length = 0; i < text.size(); ++i) {
    while (length > 0 && text[i] != text[length]) length = border[length - 1];
    if (text[i] == text[length]) ++length;
    border[i] = length;
  }
  return border;
}

}  // namespace

StopMatcher::StopMatcher(std::vector<std::string> stops) {
  for (std::string& stop : stops) {
    std::vector<size_t> border = BordersOf(stop);
    patterns_.push_back({std::move(stop), std::move(border)});
  }
}

bool StopMatcher::Advance(Pattern& pattern, char byte) {
  // `matched` is less than the size of the text here, because nothing is pushed after a match.
  while (pattern.matched > 0 && pattern.text[pattern.matched] != byte) {
    pattern.matched = pattern.border[pattern.matched - 1];
  }
  if (pattern.text[pattern.matched] == byte) ++pattern.matched;
  return pattern.matched == pattern.text.size();
}

std::string StopMatcher::Push(absl::string_view text) {
  if (match_.has_value()) return "";
  for (const char byte : text) {
    held_back_.push_back(byte);
    const Pattern* longest = nullptr;
    for (Pattern& pattern : patterns_) {
      if (!Advance(pattern, byte)) continue;
      if (longest == nullptr || pattern.text.size() > longest->text.size()) longest = &pattern;
    }
    if (longest == nullptr) continue;
    // A match is in held_back_ as a whole, since each of its bytes continued a prefix of it.
    match_ = longest->text;
    held_back_.resize(held_back_.size() - match_->size());
    return std::exchange(held_back_, "");
  }
  // Whatever could still become a match begins within the longest prefix that is matched now.
  size_t kept = 0;
  for (const Pattern& pattern : patterns_) kept = std::max(kept, pattern.matched);
  std::string certain = held_back_.substr(0, held_back_.size() - kept);
  held_back_.erase(0, certain.size());
  return certain;
}

std::string StopMatcher::Flush() { return std::exchange(held_back_, ""); }

}  // namespace phalanx
