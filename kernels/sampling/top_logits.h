// The likeliest tokens of a row, for their log-probabilities: as words, as Backend::TopLogits.
#ifndef PHALANX_KERNELS_SAMPLING_TOP_LOGITS_H_
#define PHALANX_KERNELS_SAMPLING_TOP_LOGITS_H_

#include <cstdint>

#include "absl/types/span.h"
#include "kernels/sampling/logit_kernels.h"

namespace phalanx::kernels {

// One row of Backend::TopLogits: fills `words`, of which there are at most kMaxTopLogProbs.
void TopLogitsOf(absl::Span<const float> logits, int64_t first_id, absl::Span<uint64_t> words,
                 const LogitKernels& kernels = ScalarLogitKernels());

// What a word that is not 0 names.
int32_t TokenOfWord(uint64_t word);
float LogitOfWord(uint64_t word);

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_SAMPLING_TOP_LOGITS_H_
