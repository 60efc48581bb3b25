// A matrix in backend memory.
#ifndef PHALANX_KERNELS_TENSOR_H_
#define PHALANX_KERNELS_TENSOR_H_

#include <cstddef>
#include <cstdint>

#include "kernels/dtype.h"

namespace phalanx::kernels {

// Bytes that the data of every Tensor and Buffer is aligned to: a cache line, and so a whole vector
// of AVX-512, whose loads are slower where they cross a line. It is also more than the 16 bytes
// that vector loads and the tensor memory accelerator of a GPU ask for. Today's AVX2 kernels would
// do with less: they read rows that start anywhere.
inline constexpr size_t kTensorAlignment = 64;

// A dense matrix in backend memory; does not own it.
struct Tensor {
  void* data = nullptr;  // Aligned to kTensorAlignment.
  DType dtype = DType::kF32;
  int64_t rows = 0;
  int64_t cols = 0;

  float* f32() const { return static_cast<float*>(data); }
};

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_TENSOR_H_
