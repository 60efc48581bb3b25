// The backend that others are tested against: plain loops over float32 weights, with sums in
// double. Slow, on one thread, and meant to be read.
#ifndef PHALANX_KERNELS_REFERENCE_REFERENCE_BACKEND_H_
#define PHALANX_KERNELS_REFERENCE_REFERENCE_BACKEND_H_

#include <memory>

#include "kernels/ops.h"

namespace phalanx::kernels {

// Computes with weights of every DType, which take 4 bytes an element, and float32 activations.
std::unique_ptr<Backend> MakeReferenceBackend();

// The first two are kF32 or kBF16.
struct ReferenceTypes {
  DType activations = DType::kF32;
  DType residual = DType::kF32;
  KvDType kv_cache = KvDType::kF32;
};

// The same with activations of other types, as accelerators have them: what is stored in bf16 is
// rounded from float32. The ops go by the types of the tensors that they are given.
std::unique_ptr<Backend> MakeTypedReferenceBackend(const ReferenceTypes& types);

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_REFERENCE_REFERENCE_BACKEND_H_
