#include "kernels/cpu/avx2_kernels.h"

#include "kernels/cpu/bf16_panels.h"

namespace phalanx::kernels {

const KernelSet* Avx2Kernels() {
  static constexpr KernelSet kKernels = {
      .name = "avx2",
      .linear = avx2::Linear,
      .int8 = {.quantize = avx2::QuantizeBlocks, .run = avx2::LinearInt8},
      .bf16 = {.sums_by = "fma",
               .round = avx2::RoundToBf16,
               .run = avx2::LinearBf16,
               .tile_rows = bf16::kVectorTileRows},
      .attention = avx2::Attention,
      .rms_norm = avx2::RmsNorm,
      .add = avx2::Add,
      .silu_mul = avx2::SiluMul,
      .logits = {.highest = avx2::Highest,
                 .weights = avx2::WeightsOf,
                 .keys = avx2::KeysOf,
                 .select = avx2::Select,
                 .add_exponentials = avx2::AddExponentials}};
  return &kKernels;
}

}  // namespace phalanx::kernels
