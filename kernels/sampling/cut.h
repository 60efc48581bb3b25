// What is known of a row and of its cuts while ranks draw tokens together, as Backend::RowMaxima
// and the ops after it tell; shared by the host and GPUs. Only for sources that are compiled so
// that no multiplication is fused with the addition after it.
#ifndef PHALANX_KERNELS_SAMPLING_CUT_H_
#define PHALANX_KERNELS_SAMPLING_CUT_H_

#include <cstdint>

#include "kernels/host_device.h"
#include "kernels/sample_shard.h"
#include "kernels/sampling/weight.h"
#include "kernels/step_batch.h"

namespace phalanx::kernels {

inline constexpr int kDigitBits = 8;
static_assert(1 << kDigitBits == kDigitValues && kDigitBits * kCutDigits == 32);

// How far digit `digit` of a key, counted from the top, is from the lowest bit.
PHALANX_HOST_DEVICE inline int ShiftOfDigit(int digit) {
  return kDigitBits * (kCutDigits - 1 - digit);
}

// A mask of the digits above `digit`.
PHALANX_HOST_DEVICE inline uint32_t DigitsAbove(int digit) {
  return static_cast<uint32_t>(~uint64_t{0} << (ShiftOfDigit(digit) + kDigitBits));
}

// Whether the cut keeps the token `id` of this rank.
PHALANX_HOST_DEVICE inline bool Keeps(const SampleCut& cut, uint32_t key, int64_t id) {
  return key > cut.key || (key == cut.key && id <= cut.last_id);
}

// Whether a row of this maximum has a token.
PHALANX_HOST_DEVICE constexpr bool HasToken(uint64_t maximum) {
  return maximum != 0 && maximum != ~uint64_t{0};
}
// The highest logit of a row that has a token.
PHALANX_HOST_DEVICE inline float HighestLogit(uint64_t maximum) {
  return LogitOfKey(static_cast<uint32_t>(maximum >> 32));
}

// The word of Backend::RowMaxima for a row whose highest logit is `logit`, first at `id`, and which
// has no NaN.
PHALANX_HOST_DEVICE inline uint64_t MaximumWord(float logit, int64_t id) {
  return uint64_t{RankKey(logit)} << 32 | static_cast<uint32_t>(~static_cast<uint32_t>(id));
}

// What a row asks for. Whether there is anything to draw (a row that is neither greedy nor forced),
// and whether there is such a cut in a row of `vocab` logits.
PHALANX_HOST_DEVICE inline bool WantsDraw(const SamplingRow& sampling) {
  return sampling.temperature > 0.0f && sampling.forced < 0;
}
PHALANX_HOST_DEVICE inline bool WantsCut(const SamplingRow& sampling, int64_t vocab, CutKind kind) {
  if (!WantsDraw(sampling)) return false;
  if (kind == CutKind::kTopK) return CutsByTopK(sampling, vocab);
  return kind == CutKind::kTopP ? CutsByTopP(sampling) : CutsByTypicalP(sampling);
}

// The token of a row that has one and needs no draw.
PHALANX_HOST_DEVICE inline int64_t TokenWithoutDraw(const SamplingRow& sampling, uint64_t maximum) {
  if (sampling.forced >= 0) return sampling.forced;
  return static_cast<uint32_t>(~static_cast<uint32_t>(maximum));
}

// Finds digit `digit` of the cut by the sums of all ranks, [kDigitValues], and returns it.
PHALANX_HOST_DEVICE inline uint32_t FindDigit(const SamplingRow& sampling, CutKind kind, int digit,
                                              const uint64_t* sums, SampleCut* cut) {
  if (digit == 0) {
    uint64_t sum = 0;
    for (int value = 0; value < kDigitValues; ++value) sum += sums[value];
    cut->key = 0;
    cut->left =
        kind == CutKind::kTopK
            ? static_cast<uint64_t>(sampling.top_k)
            : WeightNeeded(kind == CutKind::kTopP ? sampling.top_p : sampling.typical_p, sum);
  }
  uint32_t value = kDigitValues - 1;
  while (value > 0 && sums[value] < cut->left) cut->left -= sums[value--];
  cut->key |= value << ShiftOfDigit(digit);
  return value;
}

// Logits in one of the runs of a part of `size` logits; see Backend::KeptWeights.
PHALANX_HOST_DEVICE inline int64_t RunLength(int64_t size) {
  return (size + kDigitValues - 1) / kDigitValues;
}

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_SAMPLING_CUT_H_
