#include "kernels/check_tensors.h"

#include <cstdint>
#include <cstdio>
#include <cstdlib>

namespace phalanx::kernels {

void CheckTensors(Op op, std::initializer_list<Tensor> tensors) {
  for (const Tensor& tensor : tensors) {
    if (reinterpret_cast<uintptr_t>(tensor.data) % kTensorAlignment == 0) continue;
    std::fprintf(stderr, "%s: the data of a tensor of %lld rows, %p, is not aligned to %zu bytes\n",
                 OpName(op), static_cast<long long>(tensor.rows), tensor.data, kTensorAlignment);
    std::abort();
  }
}

}  // namespace phalanx::kernels
