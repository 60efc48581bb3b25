// The loops over logits that sampling and log-probabilities spend their time in. A backend may
// bring its own, with the vector instructions of its machine: all give the same bits.
#ifndef PHALANX_KERNELS_SAMPLING_LOGIT_KERNELS_H_
#define PHALANX_KERNELS_SAMPLING_LOGIT_KERNELS_H_

#include <cstdint>

namespace phalanx::kernels {

class Weights;

// A sum of exponentials in the two words that log_prob.h tells of.
struct ExpSum {
  uint64_t high = 0;
  uint64_t low = 0;
};

// Rank keys (weight.h) from `least` to `most`; none if `least` is above `most`.
struct KeyRange {
  uint32_t least = 0;
  uint32_t most = ~uint32_t{0};
};

// Logits that are worked on at once, on the stack.
inline constexpr int64_t kLogitBlock = 512;
// Kernels may write past the end of what they make up to the next multiple of this many elements,
// which divides kLogitBlock.
inline constexpr int64_t kLogitLanes = 16;

// Each function reads `n` logits, which may be 0.
struct LogitKernels {
  // The highest of the logits that are not NaN, -infinity if there is none; of 0 and -0 either.
  // Sets *has_nan if a logit is NaN, and leaves it as it is otherwise.
  float (*highest)(const float* logits, int64_t n, bool* has_nan);
  // out[i] = weights(logits[i]), and returns the sum. No logit is NaN or above the maximum.
  uint64_t (*weights)(const Weights& weights, const float* logits, int64_t n, uint64_t* out);
  // keys[i] = RankKey(logits[i]).
  void (*keys)(const float* logits, int64_t n, uint32_t* keys);
  // Writes the logits whose keys are in `keys` to `out`, in order, and returns how many they are.
  int64_t (*select)(const float* logits, int64_t n, KeyRange keys, float* out);
  // Adds exp(logit - max) for each logit to `sum`, as AddExponential in exp_sum.h. No logit is NaN
  // or above `max`, which is finite.
  void (*add_exponentials)(const float* logits, int64_t n, float max, ExpSum* sum);
};

// The definitions, one logit after the other.
const LogitKernels& ScalarLogitKernels();

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_SAMPLING_LOGIT_KERNELS_H_
