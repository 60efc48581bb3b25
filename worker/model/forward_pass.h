// The layers of one rank's part of a model: from the tokens of a step to what its logits are made
// of.
#ifndef PHALANX_WORKER_MODEL_FORWARD_PASS_H_
#define PHALANX_WORKER_MODEL_FORWARD_PASS_H_

#include <atomic>
#include <cstdint>

#include "absl/status/status.h"
#include "kernels/ops.h"
#include "model/sharding/shard.h"
#include "model/spec/spec.h"
#include "worker/model/activations.h"
#include "worker/model/collectives.h"
#include "worker/weights/decoder_weights.h"

namespace phalanx {

// The first `rows` rows of `tensor`: a step uses as many as it has tokens.
inline kernels::Tensor FirstRows(kernels::Tensor tensor, int64_t rows) {
  tensor.rows = rows;
  return tensor;
}

// Engine thread only.
class ForwardPass {
 public:
  // What it works with; all of it is lent and stays where it is.
  struct Parts {
    const DecoderWeights* weights = nullptr;
    const Activations* activations = nullptr;
    kernels::KvCache* cache = nullptr;
    kernels::Backend* backend = nullptr;
    kernels::Stream* stream = nullptr;
    Collectives* collectives = nullptr;
    // Counts pieces of work that are done, of work that every rank does: the leader compares the
    // counts to find the rank that is behind.
    std::atomic<uint64_t>* progress = nullptr;
  };

  // `spec` and `shard` are lent too.
  ForwardPass(const ModelSpec& spec, const Shard& shard, const Parts& parts)
      : spec_(spec),
        shard_(shard),
        weights_(*parts.weights),
        act_(*parts.activations),
        cache_(*parts.cache),
        backend_(*parts.backend),
        stream_(*parts.stream),
        collectives_(*parts.collectives),
        progress_(*parts.progress) {}

  // To be called once, before Run. The errors of Stream::Synchronize.
  absl::Status UploadInverseFrequencies();

  // Calls for the ops of a step: act.hidden = the last norm of what the layers make of its tokens.
  // The errors of Collectives.
  absl::Status Run(const kernels::StepBatch& batch);

 private:
  using Tensor = kernels::Tensor;

  // The parts of the network, in the order in which a step runs them.
  absl::Status EmbedTokens(const kernels::StepBatch& batch);
  absl::Status Attend(const kernels::StepBatch& batch, int layer);
  absl::Status FeedForward(const kernels::StepBatch& batch, int layer);

  void Mark() { progress_.fetch_add(1, std::memory_order_relaxed); }

  // Products take the norm of the residual. A rank that is alone leaves each norm to the op of the
  // product. Several ranks have it in `hidden`: after a layer's half, it is part of the sum over
  // ranks.
  bool norm_is_in_hidden() const { return shard_.world > 1; }
  // hidden = norm of the residual.
  void NormResidual(int64_t rows, Tensor norm);
  // out = product with the residual's norm.
  void MultiplyNorm(Tensor norm, const kernels::PackedLinear& w, Tensor bias, Tensor out);
  void MultiplyNorm(Tensor norm, const kernels::PackedGatedLinear& w, Tensor out);
  // residual += x W^T, whose parts on all ranks are summed. `norm` is that of the next product.
  absl::Status AddProduct(Tensor x, const kernels::PackedLinear& w, Tensor norm);

  Tensor Norm(kernels::Buffer& weight) const {
    return {weight.data(), kernels::DType::kF32, 1, spec_.hidden};
  }
  // The weights of the norm that follows layer `layer`: the next layer's first norm, or the final
  // one.
  Tensor NormAfter(int layer) const {
    return Norm(layer + 1 < spec_.num_layers ? *weights_.layers[layer + 1].attention_norm
                                             : *weights_.final_norm);
  }

  const ModelSpec& spec_;
  const Shard& shard_;
  const DecoderWeights& weights_;
  const Activations& act_;
  kernels::KvCache& cache_;
  kernels::Backend& backend_;
  kernels::Stream& stream_;
  Collectives& collectives_;
  std::atomic<uint64_t>& progress_;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_MODEL_FORWARD_PASS_H_
