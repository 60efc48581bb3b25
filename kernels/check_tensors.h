// The check on the arguments of ops that every backend makes.
#ifndef PHALANX_KERNELS_CHECK_TENSORS_H_
#define PHALANX_KERNELS_CHECK_TENSORS_H_

#include <initializer_list>

#include "kernels/op_list.h"
#include "kernels/tensor.h"

namespace phalanx::kernels {

// Ends the process, naming the op, if the data of a tensor is not aligned to kTensorAlignment. A
// tensor without data passes. Every op calls it first: it costs some nanoseconds, and a caller that
// breaks the contract is found by today's backends, which would compute the same, and not by the
// first one that cannot.
void CheckTensors(Op op, std::initializer_list<Tensor> tensors);

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_CHECK_TENSORS_H_
