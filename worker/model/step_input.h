// One step of the engine in host memory: what the scheduler planned, what the leader sends to its
// ranks, what the decoder runs.
#ifndef PHALANX_WORKER_MODEL_STEP_INPUT_H_
#define PHALANX_WORKER_MODEL_STEP_INPUT_H_

#include <cstdint>
#include <vector>

#include "kernels/ops.h"

namespace phalanx {

// Bounds that every rank sizes its arenas by, fixed at start.
struct StepLimits {
  int max_step_tokens = 0;     // Tokens in one step, prefill and decode together.
  int max_seqs = 0;            // Sequences, and rows of logits, in one step.
  int max_blocks_per_seq = 0;  // Blocks that hold the whole context: ceil(context / 16).
  int kv_blocks = 0;           // Blocks in the arena.
};

// The arrays of kernels::StepBatch, with the same names, shapes and meanings.
struct StepInput {
  std::vector<int32_t> token_ids = {};     // [num_tokens]
  std::vector<int32_t> positions = {};     // [num_tokens]
  std::vector<int32_t> query_starts = {};  // [num_seqs + 1]
  std::vector<int32_t> kv_lengths = {};    // [num_seqs]
  std::vector<int32_t> block_tables = {};  // [num_seqs, max_blocks_per_seq], unused entries 0
  int32_t max_blocks_per_seq = 0;          // Width in this step: enough for its longest sequence.
  // [num_seqs]: which of the model's rotary lists, model/spec/long_rope.h. Empty: the first for
  // all.
  std::vector<int32_t> rope_lists = {};
  std::vector<int32_t> logit_rows = {};  // [num_logit_rows], ascending
  // [num_logit_rows]. Only rank 0 samples: not sent to the other ranks.
  std::vector<kernels::SamplingRow> sampling = {};
  // Tokens after which the probability of a given next one is wanted. [num_score_rows], ascending.
  std::vector<int32_t> score_rows = {};
  // [num_score_rows], the next ones. Only rank 0 needs them: not sent to the other ranks.
  std::vector<int32_t> score_targets = {};

  int num_tokens() const { return static_cast<int>(token_ids.size()); }
  int num_seqs() const { return static_cast<int>(kv_lengths.size()); }
  int num_logit_rows() const { return static_cast<int>(logit_rows.size()); }
  int num_score_rows() const { return static_cast<int>(score_rows.size()); }
};

// What a step gives on rank 0; empty on the other ranks.
struct StepResult {
  // [num_logit_rows], the drawn ones; kernels::kNoToken where the logits were no numbers.
  std::vector<int32_t> tokens = {};
  // [num_score_rows], natural logarithms; not finite where the logits were no numbers.
  std::vector<float> log_probs = {};
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_MODEL_STEP_INPUT_H_
