// Reading single weights on the device, with the bits that kernels/dequantize.h gives. For kernels
// that take any layer; fast ones read whole tiles. Only for kernel sources.
#ifndef PHALANX_KERNELS_CUDA_WEIGHTS_H_
#define PHALANX_KERNELS_CUDA_WEIGHTS_H_

#include <cstdint>
#include <type_traits>

#include "kernels/cuda/numbers.h"
#include "kernels/cuda/weight_layout.h"

namespace phalanx::kernels::cuda {

template <WeightFormat kFormat>
__device__ __forceinline__ float WeightAt(const DeviceMatrix& m, int64_t output, int64_t input) {
  if constexpr (kFormat == WeightFormat::kF32) {
    return static_cast<const float*>(m.data)[output * m.row_stride + input];
  } else if constexpr (kFormat == WeightFormat::kF16) {
    return ToFloat(static_cast<const Half*>(m.data)[output * m.row_stride + input]);
  } else if constexpr (kFormat == WeightFormat::kBF16) {
    return ToFloat(static_cast<const BFloat16*>(m.data)[output * m.row_stride + input]);
  } else {
    const int64_t code_at = CodeIndex(m.chunks(), output, input);
    int level;
    if constexpr (kFormat == WeightFormat::kCodes4) {
      const uint8_t pair = static_cast<const uint8_t*>(m.data)[code_at / 2];
      level = (pair >> code_at % 2 * 4 & 15) - m.zero;
    } else {
      level = int16_t{static_cast<const int8_t*>(m.data)[code_at]};
    }
    const int64_t scale_at = ScaleIndex(m.chunks(), m.sub_blocks, output, input);
    const float product = m.scales[scale_at] * static_cast<float>(level);
    // The product is exact, so that it makes no difference whether the sum is fused with it.
    return m.minimums == nullptr ? product : product + m.minimums[scale_at];
  }
}

// Calls f with the format of `m` as a constant, a std::integral_constant. Host code.
template <typename Function>
void WithFormat(WeightFormat format, Function f) {
  switch (format) {
    case WeightFormat::kF32:
      return f(std::integral_constant<WeightFormat, WeightFormat::kF32>());
    case WeightFormat::kF16:
      return f(std::integral_constant<WeightFormat, WeightFormat::kF16>());
    case WeightFormat::kBF16:
      return f(std::integral_constant<WeightFormat, WeightFormat::kBF16>());
    case WeightFormat::kCodes4:
      return f(std::integral_constant<WeightFormat, WeightFormat::kCodes4>());
    case WeightFormat::kLevels8:
      return f(std::integral_constant<WeightFormat, WeightFormat::kLevels8>());
  }
}

}  // namespace phalanx::kernels::cuda

#endif  // PHALANX_KERNELS_CUDA_WEIGHTS_H_
