// Vectors of eight floats, for vector_attention.h.
#ifndef PHALANX_KERNELS_CPU_AVX2_VECTORS_H_
#define PHALANX_KERNELS_CPU_AVX2_VECTORS_H_

#include <cstdint>

#include "kernels/cpu/avx2.h"

namespace phalanx::kernels::avx2 {

struct Vectors {
  using Floats = __m256;
  using Half = Vectors;  // Rows are padded to vectors of eight, so none is left over.
  static constexpr int kLanes = avx2::kLanes;
  static constexpr int kRows = 6;
  // Each vector of each row is a chain of multiply-adds, in which every one waits for the one
  // before. A multiply-add takes about four cycles and two can start in each, so eight chains are
  // needed to keep the processor busy. These numbers give 8 to 12 chains, which leaves some of the
  // 16 registers free.
  static constexpr int ScoreBlocks(int rows) { return rows == 1 ? 4 : rows <= 3 ? 2 : 1; }
  static constexpr int MixVectors(int rows) { return rows == 1 ? 8 : rows <= 3 ? 4 : 2; }

  static PHALANX_AVX2_INLINE Floats Zero() { return _mm256_setzero_ps(); }
  static PHALANX_AVX2_INLINE Floats Broadcast(float x) { return _mm256_set1_ps(x); }
  static PHALANX_AVX2_INLINE Floats Load(const float* from) { return _mm256_loadu_ps(from); }
  static PHALANX_AVX2_INLINE void Store(float* to, Floats x) { _mm256_storeu_ps(to, x); }
  static PHALANX_AVX2_INLINE float First(Floats x) { return _mm256_cvtss_f32(x); }
  static PHALANX_AVX2_INLINE Floats Add(Floats a, Floats b) { return _mm256_add_ps(a, b); }
  static PHALANX_AVX2_INLINE Floats Subtract(Floats a, Floats b) { return _mm256_sub_ps(a, b); }
  static PHALANX_AVX2_INLINE Floats Multiply(Floats a, Floats b) { return _mm256_mul_ps(a, b); }
  static PHALANX_AVX2_INLINE Floats MultiplyAdd(Floats a, Floats b, Floats c) {
    return _mm256_fmadd_ps(a, b, c);
  }
  static PHALANX_AVX2_INLINE Floats Max(Floats a, Floats b) { return _mm256_max_ps(a, b); }

  // Elements of the KV cache: floats, upper halves of floats, and levels.
  static PHALANX_AVX2_INLINE Floats LoadKv(const float* from) { return _mm256_loadu_ps(from); }
  static PHALANX_AVX2_INLINE Floats LoadKv(const uint16_t* from) {
    const __m128i halves = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
  }
  static PHALANX_AVX2_INLINE Floats LoadKv(const int8_t* from) {
    const __m128i levels = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(from));
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(levels));
  }

  // x in the first n lanes, `other` in those after them.
  static PHALANX_AVX2_INLINE Floats KeepFirst(Floats x, int n, Floats other) {
    return _mm256_blendv_ps(other, x, _mm256_castsi256_ps(FirstLanes(n)));
  }
  static PHALANX_AVX2_INLINE Floats Exp(Floats x) { return avx2::Exp(x); }
  static PHALANX_AVX2_INLINE float SumLanes(Floats x) { return avx2::SumLanes(x); }
  static PHALANX_AVX2_INLINE float MaxLanes(Floats x) { return avx2::MaxLanes(x); }
};

}  // namespace phalanx::kernels::avx2

#endif  // PHALANX_KERNELS_CPU_AVX2_VECTORS_H_
