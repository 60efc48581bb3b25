// Tells which models think aloud before they answer.
#ifndef PHALANX_COORDINATOR_TEXT_ANSWER_REASONING_MODEL_H_
#define PHALANX_COORDINATOR_TEXT_ANSWER_REASONING_MODEL_H_

#include <string>

#include "absl/types/span.h"
#include "model/text/tokenizer_assets.h"

namespace phalanx {

// Whether the model writes think blocks. It does if a chat template contains "<think>" or
// "</think>", or if one of them is an added token. If neither is so, it does if one of its names is
// of a family that is known for it ("Phi-4-mini-reasoning", "DeepSeek-R1-..."), because in some
// models the tags are plain text that no file mentions. An empty name says nothing.
bool IsReasoningModel(const TokenizerAssets& tokenizer, absl::Span<const std::string> names);

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_TEXT_ANSWER_REASONING_MODEL_H_
