// Chooses how a model's text is cut into pieces.
#ifndef PHALANX_COORDINATOR_TEXT_TOKENIZER_MAKE_PRE_TOKENIZER_H_
#define PHALANX_COORDINATOR_TEXT_TOKENIZER_MAKE_PRE_TOKENIZER_H_

#include <memory>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "coordinator/text/tokenizer/pre_tokenizer.h"
#include "model/text/tokenizer_assets.h"

namespace phalanx {

// Takes the hand-written scanners of word_scanners.h for the rules of known tokenizers, and PCRE2
// for all others, see regex_pre_tokenizer.h. Messages of INVALID_ARGUMENT and UNIMPLEMENTED quote
// the pattern.
absl::StatusOr<std::unique_ptr<PreTokenizer>> MakePreTokenizer(absl::Span<const SplitRule> rules);

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_TEXT_TOKENIZER_MAKE_PRE_TOKENIZER_H_
