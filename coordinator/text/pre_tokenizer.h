// Cuts text into the pieces that byte-pair merges stay within.
#ifndef PHALANX_COORDINATOR_TEXT_PRE_TOKENIZER_H_
#define PHALANX_COORDINATOR_TEXT_PRE_TOKENIZER_H_

#include <memory>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "model/tokenizer_assets.h"

namespace phalanx {

// Thread-safe; immutable.
class PreTokenizer {
 public:
  using PieceSink = absl::FunctionRef<void(absl::string_view)>;

  virtual ~PreTokenizer() = default;

  // Calls `piece` for each piece in order, none of them empty. Together they are `text`, but for
  // what a rule drops. RESOURCE_EXHAUSTED if a pattern takes too many steps for the text; then
  // some pieces may have been given.
  virtual absl::Status Split(absl::string_view text, PieceSink piece) const = 0;
};

// By hand-written scanners for the rules of known tokenizers, see word_scanners.h; with PCRE2 for
// all others, see regex_pre_tokenizer.h. INVALID_ARGUMENT and UNIMPLEMENTED quote the pattern.
absl::StatusOr<std::unique_ptr<PreTokenizer>> MakePreTokenizer(absl::Span<const SplitRule> rules);

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_TEXT_PRE_TOKENIZER_H_
