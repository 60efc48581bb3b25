#include "worker/model/sharded_sampler.h"

#include "base/status.h"

namespace phalanx {

using kernels::CutKind;
using kernels::kCutDigits;
using kernels::SamplingBatch;
using kernels::Tensor;

absl::Status ShardedSampler::FindMaxima(Tensor logits) {
  backend_.RowMaxima(stream_, logits, memory_.shard.first_id, memory_.shard.maxima);
  return collectives_.MaxWords(memory_.shard.maxima, logits.rows);
}

absl::Status ShardedSampler::FindCut(const SamplingBatch& batch, Tensor logits, CutKind kind) {
  const kernels::SampleShard& shard = memory_.shard;
  const int64_t words = logits.rows * kernels::kDigitValues;
  if (kind == CutKind::kTypical) {
    backend_.TypicalSums(stream_, batch, logits, shard);
    RETURN_IF_ERROR(collectives_.SumWords(shard.typical_sums, logits.rows * kernels::kTypicalSums));
  }
  for (int digit = 0; digit < kCutDigits; ++digit) {
    backend_.CutSums(stream_, batch, logits, shard, kind, digit);
    RETURN_IF_ERROR(digit < kCutDigits - 1
                        ? collectives_.SumWords(shard.sums, words)
                        : collectives_.GatherWords(shard.sums, words, shard.sums_of_ranks));
    backend_.NarrowCut(stream_, batch, logits, shard, kind, digit);
  }
  return absl::OkStatus();
}

absl::Status ShardedSampler::Draw(const SamplingBatch& batch, Tensor logits, int32_t* tokens) {
  const kernels::SampleShard& shard = memory_.shard;
  RETURN_IF_ERROR(FindMaxima(logits));
  if (batch.wants_draw) {
    if (batch.wants_top_k) RETURN_IF_ERROR(FindCut(batch, logits, CutKind::kTopK));
    if (batch.wants_top_p) RETURN_IF_ERROR(FindCut(batch, logits, CutKind::kTopP));
    if (batch.wants_typical_p) RETURN_IF_ERROR(FindCut(batch, logits, CutKind::kTypical));
    backend_.KeptWeights(stream_, batch, logits, shard);
    RETURN_IF_ERROR(collectives_.GatherWords(shard.kept, logits.rows, shard.kept_of_ranks));
  }
  backend_.DrawTokens(stream_, batch, logits, shard);
  // Greedy rows are known to all ranks already.
  if (batch.wants_draw) RETURN_IF_ERROR(collectives_.MaxWords(shard.drawn, logits.rows));
  backend_.TakeTokens(stream_, logits.rows, shard.drawn, tokens);
  return absl::OkStatus();
}

absl::Status ShardedSampler::Describe(Tensor logits, const int32_t* tokens, int top) {
  RETURN_IF_ERROR(FindMaxima(logits));
  backend_.LogProbTerms(stream_, logits, memory_.shard.first_id, tokens, memory_.shard.maxima,
                        memory_.log_prob_terms);
  RETURN_IF_ERROR(
      collectives_.SumWords(memory_.log_prob_terms, logits.rows * kernels::kLogProbTerms));
  if (top == 0) return absl::OkStatus();
  backend_.TopLogits(stream_, logits, memory_.shard.first_id, top, memory_.top_words);
  if (memory_.shard.world == 1) return absl::OkStatus();
  return collectives_.GatherWords(memory_.top_words, logits.rows * top, memory_.top_words_of_ranks);
}

absl::Status ShardedSampler::Score(Tensor logits, const int32_t* targets, float* log_probs) {
  RETURN_IF_ERROR(FindMaxima(logits));
  backend_.LogProbTerms(stream_, logits, memory_.shard.first_id, targets, memory_.shard.maxima,
                        memory_.log_prob_terms);
  RETURN_IF_ERROR(
      collectives_.SumWords(memory_.log_prob_terms, logits.rows * kernels::kLogProbTerms));
  backend_.CombineLogProbs(stream_, logits.rows, memory_.shard.maxima, memory_.log_prob_terms,
                           log_probs);
  return absl::OkStatus();
}

}  // namespace phalanx
