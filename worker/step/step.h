// One step of the engine in host memory: what the scheduler planned, what the leader sends to its
// ranks, what the decoder runs.
#ifndef PHALANX_WORKER_STEP_STEP_H_
#define PHALANX_WORKER_STEP_STEP_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/time/time.h"
#include "kernels/ops.h"
#include "worker/step/flat_block.h"

namespace phalanx {

// Bounds that every rank sizes its arenas by, fixed at start.
struct StepLimits {
  int max_step_tokens = 0;     // Tokens in one step, prefill and decode together.
  int max_seqs = 0;            // Sequences, and rows of logits, in one step; also the slots.
  int max_blocks_per_seq = 0;  // Blocks that hold the whole context: ceil(context / 16).
  int kv_blocks = 0;           // Blocks that sequences may own: numbers 1 to kv_blocks.

  bool operator==(const StepLimits&) const = default;
};

// A sequence keeps its slot, 0 to max_seqs - 1, for as long as it runs. Its block table begins anew
// with the entry of index 0; the entries after that come in order, before they are needed. An entry
// that comes again takes the place of the one there was, and those behind it do not count any more:
// they were for tokens that have been dropped.
//
// The two parts may come one after the other: what is wanted of the logits is not needed before
// these are there, and may depend on a token that the step before draws. Parts of different steps
// never mix: the sampling of a step comes before the forward part of the next one.
struct Step {
  StepBlock forward;
  // May leave out sequences of the forward part, whose logits nobody wants any more.
  SamplingBlock sampling;
};

// Edits that the rows of one step may have together. A row never has more than there are tokens in
// the vocabulary; most have as many as there are different tokens in prompt and answer.
inline constexpr int32_t kMaxStepEdits = 1 << 18;

// How likely a drawn token was, by natural logarithms of probabilities at temperature 1, from the
// logits before any adjustment.
struct DrawnLogProbs {
  struct Token {
    int32_t id = 0;
    float log_prob = 0.0f;
  };
  float log_prob = 0.0f;
  // The likeliest tokens, as many as the row wanted and no more than there are, likeliest first.
  std::vector<Token> top = {};
};

// What a step gives.
struct StepResult {
  // [num_logit_rows], the drawn ones; kernels::kNoToken where the logits were no numbers.
  std::vector<int32_t> tokens = {};
  // [num_logit_rows], or empty if no row wanted any; those of a row that wanted none mean nothing.
  std::vector<DrawnLogProbs> drawn_log_probs = {};
  // [num_score_rows], natural logarithms; not finite where the logits were no numbers.
  std::vector<float> log_probs = {};
  // This rank's columns of the logits that tokens were drawn from, [num_logit_rows, local_vocab]
  // f32 in backend memory, until the next step. None if the step scored tokens too. For tests and
  // tools.
  kernels::Tensor local_logits = {};
  // Time that this rank spent in collectives, waiting for its peers included; nothing if that was
  // not measured in this step.
  std::optional<absl::Duration> comm_time = std::nullopt;
  // Bytes of data that this rank gave to collectives; see Communicator::bytes_sent.
  uint64_t comm_bytes = 0;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_STEP_STEP_H_
