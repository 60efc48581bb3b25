// The splitting rules of known tokenizers, written by hand. They match what the patterns of
// model/text/split_patterns.h do, in one pass over the text.
//
// Each function returns the length in bytes of the first piece of `text`, which must not be empty.
// All calls for a text together take time linear in it, because what one call looks at beyond its
// piece belongs to one of the next two pieces.
#ifndef PHALANX_COORDINATOR_TEXT_TOKENIZER_WORD_SCANNERS_H_
#define PHALANX_COORDINATOR_TEXT_TOKENIZER_WORD_SCANNERS_H_

#include <cstddef>

#include "absl/strings/string_view.h"

namespace phalanx {

size_t Gpt2PieceLength(absl::string_view text);    // kGpt2Pattern
size_t SmolLmPieceLength(absl::string_view text);  // kDigitPattern, then kGpt2Pattern
size_t Llama3PieceLength(absl::string_view text);  // kLlama3Pattern
size_t Qwen2PieceLength(absl::string_view text);   // kQwen2Pattern
size_t O200kPieceLength(absl::string_view text);   // kO200kPattern

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_TEXT_TOKENIZER_WORD_SCANNERS_H_
