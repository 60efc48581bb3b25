// Finds stop strings in text that comes piece by piece.
#ifndef PHALANX_COORDINATOR_TEXT_ANSWER_STOP_MATCHER_H_
#define PHALANX_COORDINATOR_TEXT_ANSWER_STOP_MATCHER_H_

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace phalanx {

// The match that ends first counts, of several that end at the same byte the longest: so the result
// is the same however the text was cut. Thread-compatible. Takes time in proportion to the text and
// the number of stop strings (Knuth, Morris and Pratt 1977).
class StopMatcher {
 public:
  // None of `stops` is empty. Without any, text passes through.
  explicit StopMatcher(std::vector<std::string> stops);

  // The text that is certain to belong to no stop string; the beginning of one is held back.
  // Nothing of a match, nor of what follows it, is ever returned. Whole UTF-8 stays whole.
  std::string Push(absl::string_view text);

  // What was held back, at the end of the text. Nothing after a match.
  std::string Flush();

  const std::optional<std::string>& match() const { return match_; }

 private:
  struct Pattern {
    std::string text;
    // Of text[0, i]: the longest proper prefix that is a suffix of it too.
    std::vector<size_t> border;
    // How much of `text` the input ends with.
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
