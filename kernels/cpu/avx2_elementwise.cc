#include <cmath>

#include "kernels/cpu/avx2.h"
#include "kernels/cpu/avx2_kernels.h"

namespace phalanx::kernels::avx2 {

// 32 running sums, in lane i % 32 for element i: the order depends on n alone. Four vectors, since
// a single one would wait for its last multiply-add at every turn. Past the end, LoadFirst gives
// zeros, which add nothing.
PHALANX_AVX2 void RmsNorm(const float* x, const float* weight, float eps, int64_t n, float* out) {
  __m256 squares[4] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(),
                       _mm256_setzero_ps()};
  for (int64_t i = 0; i < n; i += 4 * kLanes) {
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      const __m256 v = LoadFirst(x + i + j * kLanes, n - i - j * kLanes);
      squares[j] = _mm256_fmadd_ps(v, v, squares[j]);
    }
  }
  const float sum = SumLanes(
      _mm256_add_ps(_mm256_add_ps(squares[0], squares[1]), _mm256_add_ps(squares[2], squares[3])));
  const __m256 scale = _mm256_set1_ps(1.0f / std::sqrt(sum / static_cast<float>(n) + eps));
  for (int64_t i = 0; i < n; i += kLanes) {
    const __m256 scaled = _mm256_mul_ps(LoadFirst(x + i, n - i), scale);
    StoreFirst(out + i, n - i, _mm256_mul_ps(scaled, LoadFirst(weight + i, n - i)));
  }
}

PHALANX_AVX2 void Add(const float* delta, int64_t n, float* residual) {
  for (int64_t i = 0; i < n; i += kLanes) {
    const __m256 sum = _mm256_add_ps(LoadFirst(residual + i, n - i), LoadFirst(delta + i, n - i));
    StoreFirst(residual + i, n - i, sum);
  }
}

PHALANX_AVX2 void SiluMul(const float* gate, const float* up, int64_t n, float* out) {
  const __m256 one = _mm256_set1_ps(1.0f);
  for (int64_t i = 0; i < n; i += kLanes) {
    const __m256 x = LoadFirst(gate + i, n - i);
    // The xor flips the sign bit. For very negative x, Exp(-x) stays at its largest value and does
    // not become infinite; the result is then some -1e-36 in place of 0.
    const __m256 minus_x = _mm256_xor_ps(x, _mm256_set1_ps(-0.0f));
    const __m256 silu = _mm256_div_ps(x, _mm256_add_ps(one, Exp(minus_x)));
    StoreFirst(out + i, n - i, _mm256_mul_ps(silu, LoadFirst(up + i, n - i)));
  }
}

}  // namespace phalanx::kernels::avx2
