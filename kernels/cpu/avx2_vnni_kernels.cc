#include "kernels/cpu/avx2.h"
#include "kernels/cpu/avx2_int8_linear.h"
#include "kernels/cpu/kernel_set.h"

namespace phalanx::kernels {
namespace {

// vpdpbusd as AVX-VNNI encodes it. In assembly, because the compiler's function may be called only
// from functions that are compiled for AVX-VNNI, and so would not do in templates that AVX2 shares.
struct VexDots {
  static constexpr bool kDotsOfFour = true;
  static PHALANX_AVX2_INLINE __m256i Add(__m256i sums, __m256i codes, __m256i levels) {
    asm("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sums) : "x"(codes), "x"(levels));
    return sums;
  }
};

void LinearInt8(const LinearTask& task, int64_t group_begin, int64_t group_end) {
  avx2::int8_linear::Run<VexDots>(task, group_begin, group_end);
}

}  // namespace

const KernelSet* Avx2VnniKernels() {
  static const KernelSet kKernels = [] {
    KernelSet kernels = *Avx2Kernels();
    kernels.name = "avx2_vnni";
    kernels.int8.run = LinearInt8;
    return kernels;
  }();
  return &kKernels;
}

}  // namespace phalanx::kernels
