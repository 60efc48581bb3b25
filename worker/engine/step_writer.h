// Writes what the scheduler has chosen into the arrays of a step.
#ifndef PHALANX_WORKER_ENGINE_STEP_WRITER_H_
#define PHALANX_WORKER_ENGINE_STEP_WRITER_H_

#include <memory_resource>
#include <vector>

#include "kernels/step_batch.h"
#include "worker/engine/sequence.h"
#include "worker/engine/token_rules.h"
#include "worker/step/step.h"

namespace phalanx {

// The part of one sequence in a step.
struct PlannedChunk {
  // How many tokens the step draws for it.
  int num_draws() const { return draws ? 1 + num_drafted - num_undrawn : 0; }

  SequenceId id{};
  // Where its first token is in the sequence.
  int begin = 0;
  int num_tokens = 0;
  // Whether the step draws the sequence's next token: the chunk is all that was pending.
  bool draws = false;
  // How many of the sequence's tokens the step scores, those that follow the positions from
  // first_score on.
  int first_score = 0;
  int num_scores = 0;
  // Where the drawn token belongs in the sequence.
  int draw_position = 0;
  // Tokens at its end that are a draft of the drawn token and those that follow it. One more is
  // drawn after each of them: if all are right, that is num_drafted + 1 tokens, from draw_position
  // on.
  int num_drafted = 0;
  // After how many of these, at their end, none is drawn, since the sequence's rules do not let it
  // come so far; known when the sampling is written.
  int num_undrawn = 0;
  // How many of num_drafted were right, once that is known: Scheduler::Resolve sets it.
  int num_accepted = 0;
  // Of the sequence's first chunk: how many tokens before it the prefix cache had.
  int cached_tokens = 0;
};

// A chunk and its sequence.
struct ChunkOfSequence {
  const PlannedChunk* chunk = nullptr;
  // Null if it has been removed: then the chunk neither draws nor scores.
  const Sequence* sequence = nullptr;
  // Of each draw of the chunk. Set if it has a draft, and the sequence rules.
  const std::vector<DrawRules>* rules = nullptr;
};

// The two parts of the step that computes `chunks`, in memory from `memory`. The first is to be
// written before the chunks count as computed, the second when all tokens before them are known to
// the sequences' rules.
StepBlock WriteForward(const std::vector<ChunkOfSequence>& chunks,
                       std::pmr::memory_resource* memory);
SamplingBlock WriteSampling(const std::vector<ChunkOfSequence>& chunks,
                            std::pmr::memory_resource* memory);

}  // namespace phalanx

#endif  // PHALANX_WORKER_ENGINE_STEP_WRITER_H_
