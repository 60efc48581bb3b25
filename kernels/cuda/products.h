// The products of the CUDA backend: which kernels make them, or whether a library does.
#ifndef PHALANX_KERNELS_CUDA_PRODUCTS_H_
#define PHALANX_KERNELS_CUDA_PRODUCTS_H_

#include <cuda_runtime_api.h>

#include "kernels/cuda/library_products.h"
#include "kernels/cuda/tensor_core_linear.h"
#include "kernels/cuda/weight_upload.h"
#include "kernels/dtype.h"
#include "kernels/tensor.h"

namespace phalanx::kernels::cuda {

class Products {
 public:
  // `library` is lent, or null if there is none.
  explicit Products(LibraryProducts* library) : library_(library) {}

  // As Backend::Linear, with a bias that may be null, or as Backend::LinearAdd if it `adds`.
  void Multiply(cudaStream_t stream, const Tensor& x, const CudaLinear& w, const float* bias,
                const Tensor& out, bool adds);
  // As Backend::GatedLinear.
  void MultiplyGated(cudaStream_t stream, const Tensor& x, const CudaGatedLinear& w,
                     const Tensor& out);

  // As Backend::NormLinear and NormGatedLinear, in one kernel; false, with nothing done, if there
  // is none for that: it is for few rows, and for norms in bfloat16, the type `normed`.
  bool MultiplyNorm(cudaStream_t stream, const NormOfRows& norm, DType normed, const CudaLinear& w,
                    const float* bias, const Tensor& out);
  bool MultiplyNormGated(cudaStream_t stream, const NormOfRows& norm, DType normed,
                         const CudaGatedLinear& w, const Tensor& out);

 private:
  LibraryProducts* const library_;
};

}  // namespace phalanx::kernels::cuda

#endif  // PHALANX_KERNELS_CUDA_PRODUCTS_H_
