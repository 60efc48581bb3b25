// Looks at characters of UTF-8 text, as far as cutting it into words needs them.
#ifndef PHALANX_COORDINATOR_TEXT_TOKENIZER_UNICODE_H_
#define PHALANX_COORDINATOR_TEXT_TOKENIZER_UNICODE_H_

#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"

namespace phalanx {

// A class of characters by the general category of Unicode 16, as the regular expressions of
// Hugging Face tokenizers know it.
enum class CharClass : uint8_t {
  kUpper,     // Lu, Lt
  kLower,     // Ll
  kCaseless,  // Lm, Lo
  kMark,      // \p{M}
  kNumber,    // \p{N}
  kSpace,     // White_Space, as \s
  kOther,     // all else
};

// \p{L}
constexpr bool IsLetter(CharClass c) { return c <= CharClass::kCaseless; }

struct Char {
  CharClass char_class = CharClass::kOther;
  // Length in bytes, at least 1.
  size_t bytes = 1;
};

constexpr CharClass AsciiClass(uint8_t byte) {
  if (byte >= 'a' && byte <= 'z') return CharClass::kLower;
  if (byte >= 'A' && byte <= 'Z') return CharClass::kUpper;
  if (byte >= '0' && byte <= '9') return CharClass::kNumber;
  return byte == ' ' || (byte >= 0x09 && byte <= 0x0d) ? CharClass::kSpace : CharClass::kOther;
}

// Does what FirstChar does, for a text that does not begin with an ASCII character.
Char FirstWideChar(absl::string_view text);

// Returns the character at the beginning of `text`, which must not be empty. Of bytes that are not
// UTF-8 the first is a character of its own, of class kOther.
inline Char FirstChar(absl::string_view text) {
  const auto byte = static_cast<uint8_t>(text[0]);
  return byte < 0x80 ? Char{AsciiClass(byte), 1} : FirstWideChar(text);
}

// Returns the length of the last character of `text`, which must not be empty. Of bytes that are
// not UTF-8 the last is a character of its own.
size_t LastCharBytes(absl::string_view text);

// Whether `text`, which must not be empty, begins with a character of a word: \w of Rust's regex.
bool IsWordChar(absl::string_view text);

// What a text begins with: one whole well-formed character or, if there is none, the longest
// beginning of one (Unicode 15, section 3.9, "maximal subparts"), or else one byte.
struct Utf8Prefix {
  size_t bytes = 1;
  bool valid = false;
  // Whether it is not valid, but more bytes could make it so.
  bool incomplete = false;
};

// `text` must not be empty.
Utf8Prefix FirstUtf8(absl::string_view text);

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_TEXT_TOKENIZER_UNICODE_H_
