// Follows splitting rules that have no scanner of their own, by PCRE2.
#ifndef PHALANX_COORDINATOR_TEXT_TOKENIZER_REGEX_PRE_TOKENIZER_H_
#define PHALANX_COORDINATOR_TEXT_TOKENIZER_REGEX_PRE_TOKENIZER_H_

#include <memory>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "coordinator/text/tokenizer/pre_tokenizer.h"
#include "model/text/tokenizer_assets.h"

namespace phalanx {

// Each rule cuts the pieces of the one before it. Patterns are written for Oniguruma, the engine of
// Hugging Face tokenizers. UNIMPLEMENTED, naming the part of the pattern, if it may mean something
// else to PCRE2. INVALID_ARGUMENT for a syntax error. Bytes that are not UTF-8 are in no match.
// Matching is compiled to machine code, and bounded in steps and memory.
absl::StatusOr<std::unique_ptr<PreTokenizer>> MakeRegexPreTokenizer(
    absl::Span<const SplitRule> rules);

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_TEXT_TOKENIZER_REGEX_PRE_TOKENIZER_H_
