// Reads how byte-level vocabularies spell bytes.
#ifndef PHALANX_MODEL_TEXT_BYTE_ALPHABET_H_
#define PHALANX_MODEL_TEXT_BYTE_ALPHABET_H_

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace phalanx {

// GPT-2 spells the bytes of a token with printable characters: printable ones of Latin-1 stand for
// themselves, the others are numbered, beginning with U+0100. Source: bytes_to_unicode in
// openai/gpt-2, src/encoder.py.
class ByteAlphabet {
 public:
  ByteAlphabet();

  // The bytes that `text`, which is UTF-8, spells. Nothing if a character is not of the alphabet.
  std::optional<std::string> Decode(absl::string_view text) const;

 private:
  // 68 bytes are not printable.
  std::array<int16_t, 256 + 68> byte_of_;
};

}  // namespace phalanx

#endif  // PHALANX_MODEL_TEXT_BYTE_ALPHABET_H_
