#include "worker/engine/step_writer.h"

#include <algorithm>

namespace phalanx {
namespace {

// How many blocks the ranks have to be told of before they compute the chunk. Later blocks of a
// prompt are told with the chunks that need them.
int NewBlocks(const ChunkOfSequence& part) {
  const int end = part.sequence->computed + part.chunk->num_tokens;
  return std::max(0, BlocksFor(end) - part.sequence->blocks_told);
}

// Fills the arrays of a step, chunk by chunk.
class StepWriter {
 public:
  explicit StepWriter(Step& step)
      : forward_(step.forward.arrays()), sampling_(step.sampling.arrays()) {}

  void Write(const ChunkOfSequence& part) {
    const Sequence& sequence = *part.sequence;
    const PlannedChunk& chunk = *part.chunk;
    const int end = sequence.computed + chunk.num_tokens;
    for (int position = sequence.computed; position < end; ++position, ++token_) {
      forward_.token_ids[token_] = sequence.tokens[position];
      forward_.positions[token_] = position;
      forward_.seq_of_token[token_] = seq_;
    }
    forward_.query_starts[seq_ + 1] = token_;
    forward_.kv_lengths[seq_] = end;
    forward_.slots[seq_] = sequence.slot;
    forward_.rope_lists[seq_] = sequence.rope.list;
    ++seq_;
    for (int i = 0; i < NewBlocks(part); ++i) {
      const int index = sequence.blocks_told + i;
      forward_.table_entries[entry_++] = {sequence.slot, index,
                                          static_cast<int32_t>(sequence.blocks[index])};
    }
    for (int draw = 0; draw < chunk.num_draws(); ++draw) {
      kernels::SamplingRow& row =
          WriteDraw(sequence, token_ - chunk.num_draws() + draw, chunk.draw_position + draw);
      if (part.edits != nullptr) {
        WriteEdits((*part.edits)[draw], row);
      } else if (sequence.rules != nullptr) {
        WriteRules(*sequence.rules, row);
      }
    }
    if (chunk.num_scores > 0) WriteScores(sequence, chunk.num_scores);
  }

 private:
  // A token is to be drawn after `token` of the step, for `position` of the sequence.
  kernels::SamplingRow& WriteDraw(const Sequence& sequence, int token, int position) {
    sampling_.logit_rows[draw_] = token;
    const Sampling& sampling = sequence.sampling;
    kernels::SamplingRow& row = sampling_.sampling[draw_];
    row = {.temperature = sampling.temperature,
           .top_k = sampling.top_k,
           .top_p = sampling.top_p,
           .min_p = sampling.min_p,
           .typical_p = sampling.typical_p,
           .repetition_penalty = sampling.repetition_penalty,
           .presence_penalty = sampling.presence_penalty,
           .frequency_penalty = sampling.frequency_penalty,
           .log_probs = sequence.log_probs,
           .position = position,
           .seed = sequence.seed};
    sampling_.logit_slots[draw_] = sequence.slot;
    ++draw_;
    return row;
  }

  void WriteEdits(const std::vector<kernels::LogitEdit>& edits, kernels::SamplingRow& row) {
    row.edits_begin = edit_;
    for (const kernels::LogitEdit& edit : edits) sampling_.edits[edit_++] = edit;
    row.edits_end = edit_;
  }

  void WriteRules(TokenRules& rules, kernels::SamplingRow& row) {
    row.forced = rules.forced();
    row.edits_begin = edit_;
    edit_ += rules.num_edits();
    row.edits_end = edit_;
    rules.WriteEdits(sampling_.edits.subspan(row.edits_begin, rules.num_edits()));
    if (rules.mask_words() == 0) return;
    row.mask_begin = mask_word_;
    mask_word_ += rules.mask_words();
    rules.WriteMask(sampling_.mask_words.subspan(row.mask_begin, rules.mask_words()));
  }

  // It is to be said how likely the tokens are that follow the first `count` positions of the
  // chunk, which is the last one so far, without those that have been scored.
  void WriteScores(const Sequence& sequence, int count) {
    const int first_token = forward_.query_starts[seq_ - 1];
    const int begin = std::max(sequence.computed, sequence.scored);
    for (int position = begin; position < begin + count; ++position, ++score_) {
      sampling_.score_rows[score_] = first_token + (position - sequence.computed);
      sampling_.score_targets[score_] = sequence.tokens[position + 1];
    }
  }

  const StepBlock::Arrays forward_;
  const SamplingBlock::Arrays sampling_;
  // Where the next element goes, by the count that the arrays have.
  int token_ = 0;
  int seq_ = 0;
  int entry_ = 0;
  int draw_ = 0;
  int score_ = 0;
  int edit_ = 0;
  int mask_word_ = 0;
};

}  // namespace

Step WriteStep(const std::vector<ChunkOfSequence>& chunks, std::pmr::memory_resource* memory) {
  kernels::StepCounts counts;
  kernels::SamplingCounts rows;
  for (const ChunkOfSequence& part : chunks) {
    counts.num_tokens += part.chunk->num_tokens;
    counts.num_seqs += 1;
    counts.num_table_entries += NewBlocks(part);
    rows.num_logit_rows += part.chunk->num_draws();
    rows.num_score_rows += part.chunk->num_scores;
    if (!part.chunk->draws || part.sequence->rules == nullptr) continue;
    if (part.edits != nullptr) {
      for (const auto& edits : *part.edits) rows.num_edits += static_cast<int32_t>(edits.size());
      continue;
    }
    rows.num_edits += part.sequence->rules->num_edits();
    rows.num_mask_words += part.sequence->rules->mask_words();
  }
  Step step = {.forward = StepBlock(counts, memory), .sampling = SamplingBlock(rows, memory)};
  StepWriter writer(step);
  for (const ChunkOfSequence& part : chunks) writer.Write(part);
  return step;
}

}  // namespace phalanx
