#include "kernels/cpu/avx2_kernels.h"

#include <cpuid.h>

namespace phalanx::kernels {
namespace {

// __builtin_cpu_supports of the Clang that builds the sanitizers does not know "f16c".
bool HasF16c() {
  unsigned int eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
}

}  // namespace

const KernelSet* Avx2Kernels() {
  static constexpr KernelSet kKernels = {
      .name = "avx2",
      .linear = avx2::Linear,
      .int8 = {.quantize_block = avx2::QuantizeBlock, .run = avx2::LinearInt8},
      .attention = avx2::Attention,
      .rms_norm = avx2::RmsNorm,
      .add = avx2::Add,
      .silu_mul = avx2::SiluMul,
      .logits = {.highest = avx2::Highest,
                 .weights = avx2::WeightsOf,
                 .keys = avx2::KeysOf,
                 .select = avx2::Select,
                 .add_exponentials = avx2::AddExponentials}};
  const bool has_all = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && HasF16c();
  return has_all ? &kKernels : nullptr;
}

}  // namespace phalanx::kernels
