// The CUDA backend on the emulator. Which of a block's threads runs first must make no difference,
// so there is one for each order.
#include <memory>
#include <vector>

#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/testing/cuda_variants.h"
#include "kernels/cuda/testing/emulator.h"
#include "kernels/testing/op_suite.h"

namespace phalanx::kernels {

std::vector<CudaVariant> CudaVariants() {
  using cuda::emulator::SetThreadOrder;
  using cuda::emulator::ThreadOrder;
  return {{"EmulatedForward", [] { SetThreadOrder(ThreadOrder::kForward); }},
          {"EmulatedBackward", [] { SetThreadOrder(ThreadOrder::kBackward); }}};
}

std::vector<BackendUnderTest> AllBackends() {
  // Streams are threads, which a fork does not have.
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto emulated = [](const CudaVariant& variant) {
    return [=] {
      variant.choose();
      return MakeCudaBackend({.activations = DType::kF32, .loading_threads = 2});
    };
  };
  return {{"CudaEmulatedForward", emulated(CudaVariants()[0])},
          {"CudaEmulatedBackward", emulated(CudaVariants()[1])}};
}

}  // namespace phalanx::kernels
