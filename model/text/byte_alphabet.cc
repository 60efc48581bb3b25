#include "model/text/byte_alphabet.h"

#include <cstddef>

namespace phalanx {

ByteAlphabet::ByteAlphabet() {
  byte_of_.fill(-1);
  int next = 256;
  for (int byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte != 173);
    byte_of_[printable ? byte : next++] = static_cast<int16_t>(byte);
  }
}

std::optional<std::string> ByteAlphabet::Decode(absl::string_view text) const {
  std::string bytes;
  bytes.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    unsigned code = static_cast<unsigned char>(text[i]);
    // All characters of the alphabet have one or two bytes in UTF-8.
    if ((code & 0xe0) == 0xc0 && i + 1 < text.size()) {
      code = (code & 0x1f) << 6 | (static_cast<unsigned char>(text[++i]) & 0x3f);
    } else if (code >= 0x80) {
      return std::nullopt;
    }
    if (code >= byte_of_.size() || byte_of_[code] < 0) return std::nullopt;
    bytes.push_back(static_cast<char>(byte_of_[code]));
  }
  return bytes;
}

}  // namespace phalanx
