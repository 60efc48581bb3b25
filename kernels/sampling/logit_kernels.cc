#include "kernels/sampling/logit_kernels.h"

#include <cmath>
#include <limits>

#include "kernels/sampling/exp_sum.h"
#include "kernels/sampling/weight.h"

namespace phalanx::kernels {
namespace {

float Highest(const float* logits, int64_t n, bool* has_nan) {
  float highest = -std::numeric_limits<float>::infinity();
  bool nan = false;
  for (int64_t i = 0; i < n; ++i) {
    nan |= std::isnan(logits[i]);
    if (logits[i] > highest) highest = logits[i];
  }
  *has_nan |= nan;
  return highest;
}

uint64_t WeightsOf(const Weights& weights, const float* logits, int64_t n, uint64_t* out) {
  uint64_t sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += out[i] = weights(logits[i]);
  return sum;
}

void KeysOf(const float* logits, int64_t n, uint32_t* keys) {
  for (int64_t i = 0; i < n; ++i) keys[i] = RankKey(logits[i]);
}

int64_t Select(const float* logits, int64_t n, KeyRange keys, float* out) {
  int64_t count = 0;
  for (int64_t i = 0; i < n; ++i) {
    const uint32_t key = RankKey(logits[i]);
    if (key >= keys.least && key <= keys.most) out[count++] = logits[i];
  }
  return count;
}

void AddExponentials(const float* logits, int64_t n, float max, ExpSum* sum) {
  ExpSum of_logits;
  for (int64_t i = 0; i < n; ++i) {
    AddExponential(static_cast<double>(logits[i]) - max, of_logits.high, of_logits.low);
  }
  sum->high += of_logits.high;
  sum->low += of_logits.low;
}

}  // namespace

const LogitKernels& ScalarLogitKernels() {
  static constexpr LogitKernels kKernels = {.highest = Highest,
                                            .weights = WeightsOf,
                                            .keys = KeysOf,
                                            .select = Select,
                                            .add_exponentials = AddExponentials};
  return kKernels;
}

}  // namespace phalanx::kernels
