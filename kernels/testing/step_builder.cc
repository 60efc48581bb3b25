#include "kernels/testing/step_builder.h"

#include <algorithm>

namespace phalanx::kernels {

void StepBuilder::Add(int num_cached, int num_new, const std::vector<int32_t>& blocks,
                      int rope_list) {
  const auto seq = static_cast<int32_t>(kv_lengths_.size());
  for (int i = 0; i < num_new; ++i) {
    token_ids_.push_back(num_cached + i);
    positions_.push_back(num_cached + i);
    seq_of_token_.push_back(seq);
  }
  query_starts_.push_back(static_cast<int32_t>(positions_.size()));
  kv_lengths_.push_back(num_cached + num_new);
  rope_lists_.push_back(rope_list);
  blocks_.push_back(blocks);
}

void StepBuilder::WantLogits(int32_t token, const SamplingRow& sampling) {
  logit_rows_.push_back(token);
  sampling_.push_back(sampling);
  logit_slots_.push_back(0);
}

StepBatch StepBuilder::batch() {
  const size_t num_seqs = kv_lengths_.size();
  slots_.resize(num_seqs);
  // The entries past a sequence's own blocks must not be read, so they name a block far outside of
  // any cache.
  block_tables_.assign(num_seqs * max_blocks_per_seq_, -1000000);
  for (size_t seq = 0; seq < num_seqs; ++seq) {
    slots_[seq] = static_cast<int32_t>(num_seqs - 1 - seq);
    std::copy(blocks_[seq].begin(), blocks_[seq].end(),
              block_tables_.begin() + slots_[seq] * max_blocks_per_seq_);
  }
  last_tokens_.resize(num_seqs);
  StepBatch batch;
  batch.num_tokens = static_cast<int32_t>(token_ids_.size());
  batch.num_seqs = static_cast<int32_t>(num_seqs);
  batch.token_ids = token_ids_.data();
  batch.positions = positions_.data();
  batch.seq_of_token = seq_of_token_.data();
  batch.query_starts = query_starts_.data();
  batch.kv_lengths = kv_lengths_.data();
  batch.slots = slots_.data();
  batch.rope_lists = rope_lists_.data();
  batch.max_blocks_per_seq = max_blocks_per_seq_;
  batch.block_tables = block_tables_.data();
  batch.last_tokens = last_tokens_.data();
  return batch;
}

SamplingBatch StepBuilder::sampling() const {
  SamplingBatch batch;
  batch.num_logit_rows = static_cast<int32_t>(logit_rows_.size());
  batch.logit_rows = logit_rows_.data();
  batch.sampling = sampling_.data();
  batch.logit_slots = logit_slots_.data();
  return batch;
}

}  // namespace phalanx::kernels
