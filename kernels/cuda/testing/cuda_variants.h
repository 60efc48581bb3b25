// The ways in which a test program runs kernels: on the emulator in either order of a block's
// threads (emulated_backends.cc), or on a GPU (gpu_backends.cc). Each program is linked with one.
#ifndef PHALANX_KERNELS_CUDA_TESTING_CUDA_VARIANTS_H_
#define PHALANX_KERNELS_CUDA_TESTING_CUDA_VARIANTS_H_

#include <functional>
#include <ostream>
#include <string>
#include <vector>

namespace phalanx::kernels {

struct CudaVariant {
  std::string name;
  std::function<void()> choose;  // Holds for what runs from here on.
};

// For GoogleTest's messages.
inline void PrintTo(const CudaVariant& variant, std::ostream* to) { *to << variant.name; }

std::vector<CudaVariant> CudaVariants();

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_CUDA_TESTING_CUDA_VARIANTS_H_
