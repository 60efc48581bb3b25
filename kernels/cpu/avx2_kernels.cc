#include "kernels/cpu/avx2_kernels.h"

namespace phalanx::kernels {

const KernelSet* Avx2Kernels() {
  static constexpr KernelSet kKernels = {.name = "avx2",
                                         .linear = avx2::Linear,
                                         .attention = avx2::Attention,
                                         .rms_norm = avx2::RmsNorm,
                                         .add = avx2::Add,
                                         .silu_mul = avx2::SiluMul};
  const bool has_all = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                       __builtin_cpu_supports("f16c");
  return has_all ? &kKernels : nullptr;
}

}  // namespace phalanx::kernels
