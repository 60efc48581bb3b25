// Models of random weights in the shapes of real ones: what is measured is a model's speed, not its
// answers.
#ifndef PHALANX_WORKER_BENCH_SYNTHETIC_MODEL_H_
#define PHALANX_WORKER_BENCH_SYNTHETIC_MODEL_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "kernels/ops.h"
#include "model/spec/spec.h"
#include "worker/weights/decoder_weights.h"

namespace phalanx {

// "phi4_mini", "smollm2" and "tiny".
const std::vector<std::string>& SyntheticShapes();
// `name` is one of SyntheticShapes().
ModelSpec SyntheticSpec(absl::string_view name);

// What matrices can be: "f32", "bf16", "q4_0", "q4_1" and "q8_0".
const std::vector<std::string>& SyntheticTypes();
// `name` is one of SyntheticTypes().
kernels::DType SyntheticType(absl::string_view name);

// All weights of a rank that is alone. Each matrix has a few random rows, over and over, which
// costs little time and no op can tell. With kQ4_0 and kQ4_1 the embedding is Q6_K where its rows
// allow that, as in files. RESOURCE_EXHAUSTED when memory runs out.
absl::StatusOr<DecoderWeights> SyntheticWeights(const ModelSpec& spec, kernels::DType dtype,
                                                kernels::Backend& backend);

}  // namespace phalanx

#endif  // PHALANX_WORKER_BENCH_SYNTHETIC_MODEL_H_
