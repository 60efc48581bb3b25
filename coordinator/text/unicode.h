// Characters of UTF-8 text, as far as cutting it into words needs them.
#ifndef PHALANX_COORDINATOR_TEXT_UNICODE_H_
#define PHALANX_COORDINATOR_TEXT_UNICODE_H_

#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"

namespace phalanx {

enum class CharClass : uint8_t {
  kLetter,  // \p{L}
  kNumber,  // \p{N}
  kSpace,   // White_Space
  kOther,   // all else
};

struct Char {
  CharClass char_class = CharClass::kOther;
  // Length in bytes, at least 1.
  size_t bytes = 1;
};

// The character at the beginning of `text`, which must not be empty. Of bytes that are not UTF-8
// the first is a character of its own, of class kOther.
Char FirstChar(absl::string_view text);

// What a text begins with: one whole well-formed character or, if there is none, the longest
// beginning of one (Unicode 15, section 3.9, "maximal subparts"), or else one byte.
struct Utf8Prefix {
  size_t bytes = 1;
  bool valid = false;
  // Not valid, but more bytes could make it so.
  bool incomplete = false;
};

// `text` must not be empty.
Utf8Prefix FirstUtf8(absl::string_view text);

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_TEXT_UNICODE_H_
