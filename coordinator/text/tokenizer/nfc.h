// The Unicode normal form NFC.
#ifndef PHALANX_COORDINATOR_TEXT_TOKENIZER_NFC_H_
#define PHALANX_COORDINATOR_TEXT_TOKENIZER_NFC_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace phalanx {

// Returns true if all of `text` is of characters that NFC never changes, whatever is next to them.
// False tells nothing. Fast.
bool IsPlainlyNfc(absl::string_view text);

// Returns `text` in the form that the normalizer "NFC" of Hugging Face tokenizers gives it, which
// is that of Unicode 9. Bytes that are not UTF-8 stay as they are, and nothing composes across
// them. O(n log n), also for long rows of marks.
std::string ToNfc(absl::string_view text);

// Where pieces of a text are in its form NFC, in order and without gaps.
struct NfcPiece {
  // Bytes of the text, and of its form NFC.
  size_t text_bytes = 0;
  size_t nfc_bytes = 0;
  // The piece is the same in both. If it is not, the places of the characters within it are not
  // known.
  bool unchanged = true;
};

// The pieces of a text. One that NFC changes is at most a character with the marks behind it, or a
// syllable of Hangul.
std::vector<NfcPiece> AlignNfc(absl::string_view text);

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_TEXT_TOKENIZER_NFC_H_
