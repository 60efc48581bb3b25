#include "kernels/cpu/avx2_vectors.h"
#include "kernels/cpu/avx512.h"
#include "kernels/cpu/avx512_kernels.h"

#define PHALANX_TARGET PHALANX_AVX512
#include "kernels/cpu/vector_attention.h"

namespace phalanx::kernels::avx512 {
namespace {

// For vector_attention.h.
struct Vectors {
  using Floats = __m512;
  using Half = avx2::Vectors;
  static constexpr int kLanes = 16;
  static constexpr int kRows = 8;
  // 12 to 18 sums that do not wait for each other, of 32 registers.
  static constexpr int ScoreBlocks(int rows) { return rows <= 4 ? 4 : 2; }
  static constexpr int MixVectors(int rows) { return rows <= 4 ? 4 : 2; }

  static PHALANX_AVX512_INLINE Floats Zero() { return _mm512_setzero_ps(); }
  static PHALANX_AVX512_INLINE Floats Broadcast(float x) { return _mm512_set1_ps(x); }
  static PHALANX_AVX512_INLINE Floats Load(const float* from) { return _mm512_loadu_ps(from); }
  static PHALANX_AVX512_INLINE void Store(float* to, Floats x) { _mm512_storeu_ps(to, x); }
  static PHALANX_AVX512_INLINE float First(Floats x) { return _mm512_cvtss_f32(x); }
  static PHALANX_AVX512_INLINE Floats Add(Floats a, Floats b) { return _mm512_add_ps(a, b); }
  static PHALANX_AVX512_INLINE Floats Subtract(Floats a, Floats b) { return _mm512_sub_ps(a, b); }
  static PHALANX_AVX512_INLINE Floats Multiply(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
  static PHALANX_AVX512_INLINE Floats MultiplyAdd(Floats a, Floats b, Floats c) {
    return _mm512_fmadd_ps(a, b, c);
  }
  static PHALANX_AVX512_INLINE Floats Max(Floats a, Floats b) { return _mm512_max_ps(a, b); }

  // Elements of the KV cache: floats, upper halves of floats, and levels.
  static PHALANX_AVX512_INLINE Floats LoadKv(const float* from) { return _mm512_loadu_ps(from); }
  static PHALANX_AVX512_INLINE Floats LoadKv(const uint16_t* from) {
    const __m256i halves = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
  }
  static PHALANX_AVX512_INLINE Floats LoadKv(const int8_t* from) {
    const __m128i levels = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(levels));
  }

  // x in the first n lanes, `other` in those after them.
  static PHALANX_AVX512_INLINE Floats KeepFirst(Floats x, int n, Floats other) {
    const auto mask = static_cast<__mmask16>(n >= kLanes ? 0xffff : (1 << n) - 1);
    return _mm512_mask_blend_ps(mask, other, x);
  }

  // As avx2::Exp, lane by lane.
  static PHALANX_AVX512_INLINE Floats Exp(Floats x) {
    x = _mm512_max_ps(_mm512_set1_ps(-87.3f), x);
    x = _mm512_min_ps(_mm512_set1_ps(88.3f), x);
    const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)),
                                          _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0x1.62e400p-1f), x);
    r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0x1.7f7d1cp-20f), r);
    __m512 series = _mm512_set1_ps(1.0f / 5040);
    series = _mm512_fmadd_ps(series, r, _mm512_set1_ps(1.0f / 720));
    series = _mm512_fmadd_ps(series, r, _mm512_set1_ps(1.0f / 120));
    series = _mm512_fmadd_ps(series, r, _mm512_set1_ps(1.0f / 24));
    series = _mm512_fmadd_ps(series, r, _mm512_set1_ps(1.0f / 6));
    series = _mm512_fmadd_ps(series, r, _mm512_set1_ps(0.5f));
    series = _mm512_fmadd_ps(series, r, _mm512_set1_ps(1.0f));
    series = _mm512_fmadd_ps(series, r, _mm512_set1_ps(1.0f));
    const __m512i exponent =
        _mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127)), 23);
    return _mm512_mul_ps(series, _mm512_castsi512_ps(exponent));
  }

  static PHALANX_AVX512_INLINE float SumLanes(Floats x) {
    return avx2::SumLanes(_mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1)));
  }
  static PHALANX_AVX512_INLINE float MaxLanes(Floats x) {
    return avx2::MaxLanes(_mm256_max_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1)));
  }
};

}  // namespace

void Attention(const AttentionTask& task, int64_t segment, float* states) {
  SegmentOfTask<Vectors>(task, segment, states);
}

}  // namespace phalanx::kernels::avx512
