// What changes logits before a token is drawn from them, defined to the bit.
//
// All arithmetic is in float32, each operation rounded by itself (see sample.h). For each edit of a
// row, its logit l becomes, in this order,
//
//  1. logit bias: l + bias.
//  2. repetition penalty, if the prompt or the answer so far has the token: l / repetition_penalty
//     if l > 0, else l * repetition_penalty. As RepetitionPenaltyLogitsProcessor of Hugging Face's
//     transformers, https://arxiv.org/abs/1909.05858.
//  3. presence penalty, if the answer so far has the token: l - presence_penalty.
//  4. frequency penalty, if the answer so far has the token `count` times, and that is not 0:
//     l - frequency_penalty * count. 3 and 4 as OpenAI's API defines them: the prompt does not
//     count.
//  5. A token that the mask does not allow has -infinity.
//
// Logits without an edit are only masked.
#ifndef PHALANX_KERNELS_SAMPLING_LOGIT_EDIT_H_
#define PHALANX_KERNELS_SAMPLING_LOGIT_EDIT_H_

#include <cstdint>

#include "kernels/host_device.h"
#include "kernels/step_batch.h"

namespace phalanx::kernels {

// Steps 1 to 4. Only for sources that are compiled so that no multiplication is fused with the
// addition after it.
PHALANX_HOST_DEVICE inline float EditedLogit(float logit, const LogitEdit& edit,
                                             const SamplingRow& row) {
  float l = logit + edit.bias;
  if (edit.seen != 0) {
    l = l > 0.0f ? l / row.repetition_penalty : l * row.repetition_penalty;
  }
  if (edit.count > 0) {
    l = l - row.presence_penalty;
    const float penalty = row.frequency_penalty * static_cast<float>(edit.count);
    l = l - penalty;
  }
  return l;
}

PHALANX_HOST_DEVICE inline bool MaskAllows(const uint32_t* words, int64_t token) {
  return (words[token / 32] >> (token % 32) & 1) != 0;
}

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_SAMPLING_LOGIT_EDIT_H_
