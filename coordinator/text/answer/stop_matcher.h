// Finds stop strings in text that comes piece by piece.
#ifndef PHALANX_COORDINATOR_TEXT_ANSWER_STOP_MATCHER_H_
#define PHALANX_COORDINATOR_TEXT_ANSWER_STOP_MATCHER_H_

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace phalanx {

// Of several matches the one that ends first counts, and of those that end at the same byte the
// longest. So the result is the same no matter how the text was cut. Thread-compatible. Takes time
// in proportion to the text and the number of stop strings (Knuth, Morris and Pratt 1977).
class StopMatcher {
 public:
  // None of `stops` is empty. Without any, text passes through.
  explicit StopMatcher(std::vector<std::string> stops);

  // Returns the text that is certain to belong to no stop string. The beginning of one is held
  // back. Nothing of a match, nor of what follows it, is ever returned. If text and stop strings
  // are UTF-8, no character is cut.
  std::string Push(absl::string_view text);

  // To be called at the end of the text. Returns what was held back, or nothing after a match.
  std::string Flush();

  const std::optional<std::string>& match() const { return match_; }

 private:
  struct Pattern {
    std::string text;
    // border[i] is the length of the longest proper prefix of text[0..i] that is also a suffix of
    // it.
    std::vector<size_t> border;
    // The length of the longest prefix of `text` that the input ends with.
    size_t matched = 0;
  };

  // Returns whether the pattern is complete with `byte`.
  static bool Advance(Pattern& pattern, char byte);

  std::vector<Pattern> patterns_;
  std::string held_back_;
  std::optional<std::string> match_;
};

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_TEXT_ANSWER_STOP_MATCHER_H_
