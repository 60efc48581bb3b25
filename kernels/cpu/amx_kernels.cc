#include "kernels/cpu/amx_bf16_linear.h"
#include "kernels/cpu/amx_int8_linear.h"
#include "kernels/cpu/amx_tiles.h"
#include "kernels/cpu/kernel_set.h"

namespace phalanx::kernels {

const KernelSet* AmxKernels() {
  static const KernelSet kKernels = [] {
    KernelSet kernels = *Avx512Bf16Kernels();
    kernels.name = "amx";
    kernels.int8.run = amx::LinearInt8<amx::HardwareTiles>;
    kernels.int8.tile_rows = amx::kTileRows;
    kernels.bf16.sums_by = "tdpbf16ps";
    kernels.bf16.run = amx::bf16_linear::Run<amx::HardwareTiles>;
    kernels.bf16.tile_rows = amx::bf16_linear::kTileRows;
    return kernels;
  }();
  return &kKernels;
}

}  // namespace phalanx::kernels
