#include "kernels/testing/step_builder.h"

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
  // The entries past a sequence's own blocks must not be read, so they name a block far outside of
  // any cache.
  block_tables_.resize(kv_lengths_.size() * max_blocks_per_seq_, -1000000);
  for (size_t i = 0; i < blocks.size(); ++i) {
    block_tables_[seq * max_blocks_per_seq_ + i] = blocks[i];
  }
}

void StepBuilder::WantLogits(int32_t token, const SamplingRow& sampling) {
  logit_rows_.push_back(token);
  sampling_.push_back(sampling);
}

StepBatch StepBuilder::batch() const {
  return {.num_tokens = static_cast<int>(token_ids_.size()),
          .num_seqs = static_cast<int>(kv_lengths_.size()),
          .num_logit_rows = static_cast<int>(logit_rows_.size()),
          .max_blocks_per_seq = max_blocks_per_seq_,
          .token_ids = token_ids_.data(),
          .positions = positions_.data(),
          .seq_of_token = seq_of_token_.data(),
          .query_starts = query_starts_.data(),
          .kv_lengths = kv_lengths_.data(),
          .block_tables = block_tables_.data(),
          .rope_lists = rope_lists_.data(),
          .logit_rows = logit_rows_.data(),
          .sampling = sampling_.data()};
}

}  // namespace phalanx::kernels
