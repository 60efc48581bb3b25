// Cuts text into the pieces that byte-pair merges stay within.
#ifndef PHALANX_COORDINATOR_TEXT_TOKENIZER_PRE_TOKENIZER_H_
#define PHALANX_COORDINATOR_TEXT_TOKENIZER_PRE_TOKENIZER_H_

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace phalanx {

// Thread-safe; immutable.
class PreTokenizer {
 public:
  using PieceSink = absl::FunctionRef<void(absl::string_view)>;

  virtual ~PreTokenizer() = default;

  // Calls `piece` for each piece in order, none of them empty. Together they are `text` without
  // what a rule drops. RESOURCE_EXHAUSTED if a pattern takes too many steps for the text. Some
  // pieces may have been given by then.
  virtual absl::Status Split(absl::string_view text, PieceSink piece) const = 0;
};

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_TEXT_TOKENIZER_PRE_TOKENIZER_H_
