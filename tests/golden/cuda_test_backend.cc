// Golden models on the CUDA backend, on the emulator, in float32.
#include "kernels/cuda/cuda_backend.h"
#include "tests/golden/tiny_models.h"

namespace phalanx {

std::unique_ptr<kernels::Backend> MakeTestBackend() {
  return *kernels::MakeCudaBackend({.activations = kernels::DType::kF32});
}

// The ranks of a RankGroup meet in shared memory, which a GPU's kernels cannot wait for.
int MaxTestWorld() { return 1; }

}  // namespace phalanx
