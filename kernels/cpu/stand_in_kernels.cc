#include "kernels/cpu/stand_in_kernels.h"

#if defined(__x86_64__)
#include "kernels/cpu/amx_bf16_linear.h"
#include "kernels/cpu/amx_int8_linear.h"
#include "kernels/cpu/avx2_int8_linear.h"
#include "kernels/cpu/emulated_tiles.h"
#endif

namespace phalanx::kernels {

#if defined(__x86_64__)

namespace {

struct EvexDots {
  static constexpr bool kDotsOfFour = true;
  static PHALANX_AVX2_INLINE __m256i Add(__m256i sums, __m256i codes, __m256i levels) {
    asm("%{evex%} vpdpbusd %2, %1, %0" : "+x"(sums) : "x"(codes), "x"(levels));
    return sums;
  }
};

// By products of 16 bits, whose sums of two never saturate.
struct WidenedDots {
  static constexpr bool kDotsOfFour = true;
  static PHALANX_AVX2_INLINE __m256i Add(__m256i sums, __m256i codes, __m256i levels) {
    const __m256i zero = _mm256_setzero_si256();
    const __m256i signs = _mm256_cmpgt_epi8(zero, levels);
    const __m256i low =
        _mm256_madd_epi16(_mm256_unpacklo_epi8(codes, zero), _mm256_unpacklo_epi8(levels, signs));
    const __m256i high =
        _mm256_madd_epi16(_mm256_unpackhi_epi8(codes, zero), _mm256_unpackhi_epi8(levels, signs));
    return _mm256_add_epi32(sums, _mm256_hadd_epi32(low, high));
  }
};

}  // namespace

const KernelSet* WidenedVnniKernels() {
  static const KernelSet kKernels = [] {
    KernelSet kernels = *Avx2VnniKernels();
    kernels.int8.run = avx2::int8_linear::Run<WidenedDots>;
    return kernels;
  }();
  return &kKernels;
}

const KernelSet* EvexVnniKernels() {
  static const KernelSet kKernels = [] {
    KernelSet kernels = *Avx2VnniKernels();
    kernels.int8.run = avx2::int8_linear::Run<EvexDots>;
    return kernels;
  }();
  return &kKernels;
}

const KernelSet* EmulatedAmxKernels() {
  static const KernelSet kKernels = [] {
    KernelSet kernels = *AmxKernels();
    kernels.int8.run = amx::LinearInt8<amx::EmulatedTiles>;
    kernels.bf16.run = amx::bf16_linear::Run<amx::EmulatedTiles>;
    return kernels;
  }();
  return &kKernels;
}

#else

const KernelSet* WidenedVnniKernels() { return nullptr; }
const KernelSet* EvexVnniKernels() { return nullptr; }
const KernelSet* EmulatedAmxKernels() { return nullptr; }

#endif

}  // namespace phalanx::kernels
