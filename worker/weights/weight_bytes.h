// What the weights of a rank will take, told before they are loaded.
#ifndef PHALANX_WORKER_WEIGHTS_WEIGHT_BYTES_H_
#define PHALANX_WORKER_WEIGHTS_WEIGHT_BYTES_H_

#include <cstddef>

#include "kernels/dtype.h"
#include "kernels/ops.h"
#include "model/files/tensor.h"
#include "model/sharding/weight_plan.h"

namespace phalanx {

// The kernels' name of a type of model files. The model folder does not know the kernels, hence two
// enums.
kernels::DType DTypeOf(TensorType type);

// DecoderWeights::bytes of what LoadDecoderWeights makes by this plan.
size_t WeightBytes(const WeightPlan& plan, const kernels::Backend& backend);

}  // namespace phalanx

#endif  // PHALANX_WORKER_WEIGHTS_WEIGHT_BYTES_H_
