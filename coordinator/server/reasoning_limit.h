// How many tokens an answer may think for.
#ifndef PHALANX_COORDINATOR_SERVER_REASONING_LIMIT_H_
#define PHALANX_COORDINATOR_SERVER_REASONING_LIMIT_H_

#include <atomic>
#include <cstdint>

#include "absl/status/statusor.h"
#include "coordinator/server/text_service.h"
#include "coordinator/text/answer/reasoning_splitter.h"
#include "model/generation/generation_options.h"

namespace phalanx {

// The limit for the worker group, with the model's own tokens for the tag that closes a think
// block, on a line of its own as models are trained to write it. `begin` is where the reasoning
// splitter begins. Refused with INVALID_ARGUMENT if it splits nothing, and if the model's tokenizer
// has no tokens for the tag. Takes microseconds.
absl::StatusOr<ReasoningLimit> MakeReasoningLimit(const TextService& text, int32_t max_tokens,
                                                  ReasoningSplitter::State begin,
                                                  const std::atomic<bool>& cancelled);

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_SERVER_REASONING_LIMIT_H_
