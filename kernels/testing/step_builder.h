// Builds batches for tests of backends that compute on the host.
#ifndef PHALANX_KERNELS_TESTING_STEP_BUILDER_H_
#define PHALANX_KERNELS_TESTING_STEP_BUILDER_H_

#include <cstdint>
#include <vector>

#include "kernels/ops.h"

namespace phalanx::kernels {

// Add sequences, then take batch() and sampling(); they point into this object. The sequences have
// slots in reverse order, the first one the highest.
class StepBuilder {
 public:
  explicit StepBuilder(int max_blocks_per_seq) : max_blocks_per_seq_(max_blocks_per_seq) {}

  // The next `num_new` tokens of a sequence that has `num_cached` in the cache, in `blocks`.
  void Add(int num_cached, int num_new, const std::vector<int32_t>& blocks, int rope_list = 0);

  // Asks for the logits of token `token` of the batch.
  void WantLogits(int32_t token, const SamplingRow& sampling);

  std::vector<int32_t>& token_ids() { return token_ids_; }
  // What kLastToken stands for, by slot.
  std::vector<int32_t>& last_tokens() { return last_tokens_; }
  StepBatch batch();
  SamplingBatch sampling() const;

 private:
  const int max_blocks_per_seq_;
  std::vector<int32_t> token_ids_;
  std::vector<int32_t> positions_;
  std::vector<int32_t> seq_of_token_;
  std::vector<int32_t> query_starts_ = {0};
  std::vector<int32_t> kv_lengths_;
  // By sequence, as they were added.
  std::vector<std::vector<int32_t>> blocks_;
  // Made by batch().
  std::vector<int32_t> slots_;
  std::vector<int32_t> block_tables_;
  std::vector<int32_t> last_tokens_;
  std::vector<int32_t> rope_lists_;
  std::vector<int32_t> logit_rows_;
  std::vector<SamplingRow> sampling_;
  std::vector<int32_t> logit_slots_;
};

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_TESTING_STEP_BUILDER_H_
