// Chooses the instance of a kernel by the types of its arguments. Only for kernel sources.
#ifndef PHALANX_KERNELS_CUDA_DISPATCH_H_
#define PHALANX_KERNELS_CUDA_DISPATCH_H_

#include "kernels/cuda/numbers.h"
#include "kernels/dtype.h"

namespace phalanx::kernels::cuda {

template <typename T>
struct TypeTag {
  using Type = T;
};

// Calls f with a TypeTag of the element type, which is kF32 or kBF16.
template <typename Function>
void WithType(DType dtype, Function f) {
  if (dtype == DType::kF32) {
    f(TypeTag<float>());
  } else {
    f(TypeTag<BFloat16>());
  }
}

}  // namespace phalanx::kernels::cuda

#endif  // PHALANX_KERNELS_CUDA_DISPATCH_H_
