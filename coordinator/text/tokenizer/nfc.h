// The Unicode normal form NFC.
#ifndef PHALANX_COORDINATOR_TEXT_TOKENIZER_NFC_H_
#define PHALANX_COORDINATOR_TEXT_TOKENIZER_NFC_H_

#include <string>

#include "absl/strings/string_view.h"

namespace phalanx {

// Returns true if all of `text` is of characters that NFC never changes, whatever is next to them.
// False tells nothing. Fast.
bool IsPlainlyNfc(absl::string_view text);

// Returns `text` in the form that the normalizer "NFC" of Hugging Face tokenizers gives it, which
// is that of Unicode 9. Bytes that are not UTF-8 stay as they are, and nothing composes across
// them. O(n log n), also for long rows of marks.
std::string ToNfc(absl::string_view text);

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_TEXT_TOKENIZER_NFC_H_
