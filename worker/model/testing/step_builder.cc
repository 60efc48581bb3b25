#include "worker/model/testing/step_builder.h"

#include <algorithm>
#include <utility>

#include "base/log.h"

namespace phalanx {

void StepBuilder::Add(TestSequence& sequence, int count, const kernels::SamplingRow& sampling) {
  CHECK(count >= 1 && count <= sequence.pending_tokens());
  if (input_.query_starts.empty()) input_.query_starts.push_back(0);
  for (int i = 0; i < count; ++i) {
    input_.positions.push_back(sequence.cached_tokens);
    input_.token_ids.push_back(sequence.tokens[sequence.cached_tokens++]);
  }
  input_.query_starts.push_back(input_.num_tokens());
  input_.kv_lengths.push_back(sequence.cached_tokens);
  const size_t blocks =
      (sequence.cached_tokens + kernels::kKvBlockTokens - 1) / kernels::kKvBlockTokens;
  CHECK(blocks <= sequence.blocks.size());
  tables_.emplace_back(sequence.blocks.begin(), sequence.blocks.begin() + blocks);
  if (sequence.pending_tokens() > 0) return;
  input_.logit_rows.push_back(input_.num_tokens() - 1);
  input_.sampling.push_back(sampling);
  input_.sampling.back().position = sequence.cached_tokens;
}

StepInput StepBuilder::Finish() {
  size_t width = 1;
  for (const auto& table : tables_) width = std::max(width, table.size());
  input_.max_blocks_per_seq = static_cast<int32_t>(width);
  for (auto& table : tables_) {
    table.resize(width, 0);
    input_.block_tables.insert(input_.block_tables.end(), table.begin(), table.end());
  }
  tables_.clear();
  return std::exchange(input_, {});
}

}  // namespace phalanx
