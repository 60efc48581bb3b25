// The backend that others are tested against: plain loops over float32 weights, with sums in
// double. Slow, on one thread, and meant to be read.
#ifndef PHALANX_KERNELS_REFERENCE_REFERENCE_BACKEND_H_
#define PHALANX_KERNELS_REFERENCE_REFERENCE_BACKEND_H_

#include <memory>

#include "kernels/ops.h"

namespace phalanx::kernels {

// Computes with every DType; weights take 4 bytes an element.
std::unique_ptr<Backend> MakeReferenceBackend();

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_REFERENCE_REFERENCE_BACKEND_H_
