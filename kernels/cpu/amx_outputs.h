// What the kernels for tiles do with complete sums.
#ifndef PHALANX_KERNELS_CPU_AMX_OUTPUTS_H_
#define PHALANX_KERNELS_CPU_AMX_OUTPUTS_H_

#include <cstdint>

#include "kernels/cpu/avx512.h"
#include "kernels/cpu/linear_format.h"

namespace phalanx::kernels::amx {

// Outputs of a group, one in each lane of a vector.
inline constexpr int kLanes = 16;

// Adds the bias to the sums of `rows` rows from `row` on, for the outputs of one group, and stores
// those that the task has.
PHALANX_AVX512 inline void StoreOutputs(const LinearTask& task, int64_t group, int64_t row,
                                        int64_t rows, const float (*sums)[kLanes]) {
  const int64_t first = group * kLanes;
  const int64_t lanes = task.weights->out_features - first;
  const auto mask = static_cast<__mmask16>(lanes >= kLanes ? 0xffff : (1 << lanes) - 1);
  const __m512 bias =
      task.bias == nullptr ? _mm512_setzero_ps() : _mm512_maskz_loadu_ps(mask, task.bias + first);
  for (int64_t r = 0; r < rows; ++r) {
    __m512 output = _mm512_load_ps(sums[r]);
    if (task.bias != nullptr) output = _mm512_add_ps(output, bias);
    _mm512_mask_storeu_ps(task.out + (row + r) * task.out_stride + first, mask, output);
  }
}

}  // namespace phalanx::kernels::amx

#endif  // PHALANX_KERNELS_CPU_AMX_OUTPUTS_H_
