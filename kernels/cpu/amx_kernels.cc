#include "kernels/cpu/amx_int8_linear.h"
#include "kernels/cpu/amx_tiles.h"
#include "kernels/cpu/kernel_set.h"

namespace phalanx::kernels {

const KernelSet* AmxKernels() {
  static const KernelSet kKernels = [] {
    KernelSet kernels = *Avx512Kernels();
    kernels.name = "amx";
    kernels.int8.run = amx::LinearInt8<amx::HardwareTiles>;
    kernels.int8.tile_rows = amx::kTileRows;
    return kernels;
  }();
  return &kKernels;
}

}  // namespace phalanx::kernels
