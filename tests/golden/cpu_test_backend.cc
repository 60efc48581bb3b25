// Golden models on the CPU backend with one thread.
#include "kernels/cpu/cpu_backend.h"
#include "tests/golden/tiny_models.h"

namespace phalanx {

std::unique_ptr<kernels::Backend> MakeTestBackend() {
  return *kernels::MakeCpuBackend({.num_threads = 1});
}

int MaxTestWorld() { return 64; }

}  // namespace phalanx
