#include "kernels/cpu/avx512_kernels.h"

#include "kernels/cpu/avx2_kernels.h"
#include "kernels/cpu/bf16_panels.h"

namespace phalanx::kernels {

const KernelSet* Avx512Kernels() {
  static constexpr KernelSet kKernels = {
      .name = "avx512_vnni",
      .linear = avx512::Linear,
      .int8 = {.quantize = avx2::QuantizeBlocks, .run = avx512::LinearInt8},
      .bf16 = {.sums_by = "fma",
               .round = avx2::RoundToBf16,
               .run = avx2::LinearBf16,
               .tile_rows = bf16::kVectorTileRows},
      .attention = avx512::Attention,
      .rms_norm = avx2::RmsNorm,
      .add = avx2::Add,
      .silu_mul = avx2::SiluMul,
      .logits = {.highest = avx512::Highest,
                 .weights = avx512::WeightsOf,
                 .keys = avx512::KeysOf,
                 .select = avx512::Select,
                 .add_exponentials = avx512::AddExponentials}};
  return &kKernels;
}

const KernelSet* Avx512Bf16Kernels() {
  static const KernelSet kKernels = [] {
    KernelSet kernels = *Avx512Kernels();
    kernels.bf16.sums_by = "vdpbf16ps";
    kernels.bf16.run = avx512::LinearBf16;
    kernels.bf16_attention = &avx512::Bf16Attention();
    return kernels;
  }();
  return &kKernels;
}

}  // namespace phalanx::kernels
