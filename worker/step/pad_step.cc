#include "worker/step/pad_step.h"

#include <algorithm>

#include "base/log.h"

namespace phalanx {

bool IsDecodeOnly(const kernels::StepCounts& counts) {
  return counts.num_tokens == counts.num_seqs;
}

StepBlock PadDecodes(const StepBlock& block, int num_seqs, int padding_slot) {
  const kernels::StepCounts counts = block.counts();
  CHECK(IsDecodeOnly(counts) && num_seqs >= counts.num_seqs);
  StepBlock padded({.num_tokens = num_seqs,
                    .num_seqs = num_seqs,
                    .num_table_entries = counts.num_table_entries});
  const StepBlock::ConstArrays from = block.arrays();
  const StepBlock::Arrays to = padded.arrays();
  const auto copy = [](auto source, auto target) {
    std::copy(source.begin(), source.end(), target.begin());
  };
  // The rest of each array stays zero, which is a token and a position and a list like any other.
  copy(from.token_ids, to.token_ids);
  copy(from.positions, to.positions);
  copy(from.rope_lists, to.rope_lists);
  copy(from.table_entries, to.table_entries);
  copy(from.slots, to.slots);
  copy(from.kv_lengths, to.kv_lengths);
  std::fill(to.slots.begin() + counts.num_seqs, to.slots.end(), padding_slot);
  std::fill(to.kv_lengths.begin() + counts.num_seqs, to.kv_lengths.end(), 1);
  for (int seq = 0; seq < num_seqs; ++seq) {
    to.seq_of_token[seq] = seq;
    to.query_starts[seq + 1] = seq + 1;
  }
  return padded;
}

}  // namespace phalanx
