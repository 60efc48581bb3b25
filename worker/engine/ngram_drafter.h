// Guesses how a text goes on by what followed in it before.
//
// The guess is looked up: of the last kMaxGram tokens of the text, or as few as kMinGram, the
// longest run is taken that the text has had before, and where it was last, what followed there is
// said again. This is known as prompt lookup decoding.
#ifndef PHALANX_WORKER_ENGINE_NGRAM_DRAFTER_H_
#define PHALANX_WORKER_ENGINE_NGRAM_DRAFTER_H_

#include <cstdint>
#include <optional>

#include "absl/container/flat_hash_map.h"
#include "absl/types/span.h"

namespace phalanx {

// The text itself is the caller's: each call gets all of it so far, and it only grows. Keeps about
// 100 bytes for each token of it. Thread-compatible.
class NgramDrafter {
 public:
  static constexpr int kMinGram = 2;
  static constexpr int kMaxGram = 4;

  // Takes in up to `most` further tokens of the text, and returns how many. Constant time for each,
  // and no allocation but for the growth of the index.
  int Read(absl::Span<const int32_t> text, int most);
  int read() const { return read_; }

  // The index of the token that followed where the end of the text was last before: the latest such
  // place for the longest run of tokens that has one. All of the text must have been read. Constant
  // time.
  std::optional<int> Match(absl::Span<const int32_t> text) const;

  // Token number `i` of the guess, from 0 on, where Match has found `match`. Behind the end of the
  // text it goes on with the guess's own beginning, so a text that repeats itself is guessed at any
  // length.
  static int32_t Guess(absl::Span<const int32_t> text, int match, int i);

 private:
  // By hash of n tokens: where they ended last. Equal hashes of other tokens only lose a guess.
  absl::flat_hash_map<uint64_t, int32_t> ends_;
  int read_ = 0;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_ENGINE_NGRAM_DRAFTER_H_
