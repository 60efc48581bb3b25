// What GPUs the worker with an emulator sees.
#include "kernels/cuda/testing/emulator.h"

namespace {

// Before main, which knows nothing of an emulator.
const bool emulated_gpus = [] {
  phalanx::kernels::cuda::emulator::SetDevices(2, size_t{4} << 30);
  return true;
}();

}  // namespace
