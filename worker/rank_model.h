// One rank's model, ready to run steps. Leader and members load it in the same way.
#ifndef PHALANX_WORKER_RANK_MODEL_H_
#define PHALANX_WORKER_RANK_MODEL_H_

#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "kernels/ops.h"
#include "model/checkpoint/checkpoint.h"
#include "model/sharding/weight_plan.h"
#include "model/spec/spec.h"
#include "worker/comm/communicator.h"
#include "worker/model/decoder.h"
#include "worker/step/step.h"

namespace phalanx {

struct RankModel {
  std::unique_ptr<Decoder> decoder;
  size_t weight_bytes = 0;
  // The part of weight_bytes that no step reads in whole: a table of embeddings that is not the
  // output matrix too.
  size_t lookup_bytes = 0;
  // Of the whole files, see model/checkpoint/weights_digest.h, with the form behind it if weights
  // were quantized, and the type of KV caches if keys and values are: with these, answers are those
  // of other weights.
  std::string weights_digest;
};

// Loads the part of rank comm->rank() out of comm->world(), in that form, and logs what it takes.
// `step_timeout` is that of Decoder::Create. `backend` and `comm` are lent and must outlive the
// model. CANCELLED soon after `interrupted` returns true; it is called by several threads. Other
// errors are those of ShardModel, LoadDecoderWeights and Decoder::Create.
absl::StatusOr<RankModel> LoadRankModel(const Checkpoint& checkpoint, const ModelSpec& spec,
                                        const StepLimits& limits, kernels::Backend* backend,
                                        Communicator* comm, absl::Duration step_timeout,
                                        WeightForm form, const std::function<bool()>& interrupted);

}  // namespace phalanx

#endif  // PHALANX_WORKER_RANK_MODEL_H_
