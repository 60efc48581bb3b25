// Follows a JSON value that comes byte by byte, to know where it ends.
#ifndef PHALANX_COORDINATOR_TEXT_ANSWER_JSON_SCANNER_H_
#define PHALANX_COORDINATOR_TEXT_ANSWER_JSON_SCANNER_H_

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"

namespace phalanx {

// For objects and arrays, whose last byte tells that they end. Checks the grammar of RFC 8259 but
// for what is between two characters of a string: that it is UTF-8, and that surrogates come in
// pairs. Thread-compatible.
class JsonScanner {
 public:
  // Values may be nested this deep.
  explicit JsonScanner(size_t max_depth) : max_depth_(max_depth) {}

  enum class State {
    kMore,    // The value goes on.
    kEnd,     // The last byte that was taken was its last.
    kBroken,  // The byte that was given last cannot follow: it was not taken.
  };

  // Takes bytes from the front of `text`, as long as they are of the value, and says how many.
  size_t Push(absl::string_view text);
  State state() const { return state_; }

 private:
  // What the next byte may be.
  enum class Expect {
    kOpening,     // "{" or "[": the beginning of all.
    kValue,       //
    kFirstValue,  // A value, or "]".
    kKey,         // A string.
    kFirstKey,    // A string, or "}".
    kColon,
    kComma,  // A comma, or the end of the innermost object or array.
    kString,
    kEscape,
    kHex,
    kWord,      // The rest of true, false or null.
    kMinus,     // A digit, behind "-".
    kZero,      // What may follow a 0.
    kInteger,   // A digit, or what may follow an integer.
    kPoint,     // A digit, behind ".".
    kFraction,  // A digit, or "e".
    kE,         // A digit or a sign, behind "e".
    kSign,      // A digit, behind the sign.
    kExponent,  // A digit.
  };

  bool Take(char byte);
  bool TakeValue(char byte);
  bool TakeOpening(char byte);
  bool TakeClosing(char byte);
  bool TakeComma(char byte);
  bool TakeInString(char byte);
  bool TakeInNumber(char byte);
  void ValueEnds() { expect_ = Expect::kComma; }

  const size_t max_depth_;
  State state_ = State::kMore;
  Expect expect_ = Expect::kOpening;
  // "{" and "[" that are open.
  std::string open_;
  bool string_is_key_ = false;
  int hex_digits_left_ = 0;
  absl::string_view word_left_;
};

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_TEXT_ANSWER_JSON_SCANNER_H_
