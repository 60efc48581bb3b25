// Draws and scores tokens where each rank has the logits of its part of the vocabulary.
#ifndef PHALANX_WORKER_MODEL_SHARDED_SAMPLER_H_
#define PHALANX_WORKER_MODEL_SHARDED_SAMPLER_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "kernels/ops.h"
#include "worker/model/collectives.h"

namespace phalanx {

// What the sampler works in, in backend memory, for steps of up to `rows` rows.
struct SamplerMemory {
  kernels::SampleShard shard;
  uint64_t* log_prob_terms = nullptr;  // [rows, kLogProbTerms]
  uint64_t* top_words = nullptr;       // [rows, kMaxTopLogProbs]
  // [world, rows, kMaxTopLogProbs]; the same memory as top_words if the rank is alone.
  uint64_t* top_words_of_ranks = nullptr;
};

// All ranks make the same calls, with the same rows and each with its own logits; all get the same
// results, and the same as Backend::Sample and TokenLogProbs give on the whole rows. How many
// collectives a call takes does not depend on the number of rows. Draw takes 1 if all are greedy,
// else 3, and kCutDigits more if a row has top_k, as many if a row has top_p, and one more than
// that if a row has typical_p. Engine thread only.
class ShardedSampler {
 public:
  // All arguments are lent.
  ShardedSampler(const SamplerMemory& memory, kernels::Backend* backend, kernels::Stream* stream,
                 Collectives* collectives)
      : memory_(memory), backend_(*backend), stream_(*stream), collectives_(*collectives) {}

  // tokens[i] = the token of row i of `logits`, [num_logit_rows, local_vocab]; what no row wants,
  // by the batch's flags, is left out. `tokens` is in backend memory. The errors of Communicator.
  absl::Status Draw(const kernels::SamplingBatch& batch, kernels::Tensor logits, int32_t* tokens);

  // Finds what tells the log-probabilities of tokens[i] and of the `top` likeliest tokens of row i,
  // in the words of all ranks: shard.maxima, log_prob_terms, and top_words_of_ranks as [world,
  // rows, top]. StepExchange reads them. `tokens` is in backend memory. The errors of Communicator.
  absl::Status Describe(kernels::Tensor logits, const int32_t* tokens, int top);

  // log_probs[i] = the log-probability of targets[i] by row i of `logits`. `targets` and
  // `log_probs` are in backend memory. The errors of Communicator.
  absl::Status Score(kernels::Tensor logits, const int32_t* targets, float* log_probs);

 private:
  absl::Status FindMaxima(kernels::Tensor logits);
  absl::Status FindCut(const kernels::SamplingBatch& batch, kernels::Tensor logits,
                       kernels::CutKind kind);

  const SamplerMemory memory_;
  kernels::Backend& backend_;
  kernels::Stream& stream_;
  Collectives& collectives_;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_MODEL_SHARDED_SAMPLER_H_
