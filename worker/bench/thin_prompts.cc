#include "worker/bench/thin_prompts.h"

#include <algorithm>
#include <utility>

#include "base/log.h"

namespace phalanx {

Step ThinStep(Step step) {
  CHECK(step.sampling.counts().num_score_rows == 0) << "scores need every token";
  const kernels::StepCounts counts = step.forward.counts();
  if (counts.num_tokens == counts.num_seqs) return step;
  StepBlock thin({.num_tokens = counts.num_seqs,
                  .num_seqs = counts.num_seqs,
                  .num_table_entries = counts.num_table_entries});
  const StepBlock::Arrays from = step.forward.arrays();
  const StepBlock::Arrays to = thin.arrays();
  // A token is drawn after the last token of a sequence, which becomes its only one.
  for (int32_t& row : step.sampling.arrays().logit_rows) row = from.seq_of_token[row];
  for (int seq = 0; seq < counts.num_seqs; ++seq) {
    const int last = from.query_starts[seq + 1] - 1;
    to.token_ids[seq] = from.token_ids[last];
    to.positions[seq] = from.positions[last];
    to.seq_of_token[seq] = seq;
    to.query_starts[seq] = seq;
  }
  to.query_starts[counts.num_seqs] = counts.num_seqs;
  std::copy(from.kv_lengths.begin(), from.kv_lengths.end(), to.kv_lengths.begin());
  std::copy(from.slots.begin(), from.slots.end(), to.slots.begin());
  std::copy(from.rope_lists.begin(), from.rope_lists.end(), to.rope_lists.begin());
  std::copy(from.table_entries.begin(), from.table_entries.end(), to.table_entries.begin());
  step.forward = std::move(thin);
  return step;
}

absl::Status PromptThinner::Submit(Step step) {
  return executor_.Submit(thin_ ? ThinStep(std::move(step)) : std::move(step));
}

}  // namespace phalanx
