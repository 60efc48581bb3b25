#include "worker/engine/step_writer.h"

#include <algorithm>

namespace phalanx {
namespace {

// How many blocks the ranks have to be told of before they compute the chunk. Later blocks of a
// prompt are told with the chunks that need them.
int NewBlocks(const ChunkOfSequence& part) {
  const int end = part.chunk->begin + part.chunk->num_tokens;
  return std::max(0, BlocksFor(end) - part.sequence->blocks_told);
}

// Fills the arrays of a step's first part, chunk by chunk.
class ForwardWriter {
 public:
  explicit ForwardWriter(StepBlock& block) : arrays_(block.arrays()) {}

  void Write(const ChunkOfSequence& part) {
    const Sequence& sequence = *part.sequence;
    const int end = part.chunk->begin + part.chunk->num_tokens;
    for (int position = part.chunk->begin; position < end; ++position, ++token_) {
      arrays_.token_ids[token_] = sequence.tokens[position];
      arrays_.positions[token_] = position;
      arrays_.seq_of_token[token_] = seq_;
    }
    arrays_.query_starts[seq_ + 1] = token_;
    arrays_.kv_lengths[seq_] = end;
    arrays_.slots[seq_] = sequence.slot;
    arrays_.rope_lists[seq_] = sequence.rope.list;
    ++seq_;
    for (int i = 0; i < NewBlocks(part); ++i) {
      const int index = sequence.blocks_told + i;
      arrays_.table_entries[entry_++] = {sequence.slot, index,
                                         static_cast<int32_t>(sequence.blocks[index])};
    }
  }

 private:
  const StepBlock::Arrays arrays_;
  // Where the next element goes, by the count that the arrays have.
  int token_ = 0;
  int seq_ = 0;
  int entry_ = 0;
};

// Fills the arrays of the second part.
class SamplingWriter {
 public:
  explicit SamplingWriter(SamplingBlock& block) : arrays_(block.arrays()) {}

  void Write(const ChunkOfSequence& part) {
    const PlannedChunk& chunk = *part.chunk;
    const int first_token = token_;
    token_ += chunk.num_tokens;
    const int first_drawn = token_ - 1 - chunk.num_drafted;
    for (int draw = 0; draw < chunk.num_draws(); ++draw) {
      kernels::SamplingRow& row =
          WriteDraw(*part.sequence, first_drawn + draw, chunk.draw_position + draw);
      if (part.rules != nullptr) {
        WriteRules((*part.rules)[draw], row);
      } else if (part.sequence->rules != nullptr) {
        WriteRules(*part.sequence->rules, row);
      }
    }
    for (int i = 0; i < chunk.num_scores; ++i, ++score_) {
      const int position = chunk.first_score + i;
      arrays_.score_rows[score_] = first_token + (position - chunk.begin);
      arrays_.score_targets[score_] = part.sequence->tokens[position + 1];
    }
  }

 private:
  // A token is to be drawn after `token` of the step, for `position` of the sequence.
  kernels::SamplingRow& WriteDraw(const Sequence& sequence, int token, int position) {
    arrays_.logit_rows[draw_] = token;
    const Sampling& sampling = sequence.sampling;
    kernels::SamplingRow& row = arrays_.sampling[draw_];
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
    arrays_.logit_slots[draw_] = sequence.slot;
    ++draw_;
    return row;
  }

  void WriteRules(const DrawRules& rules, kernels::SamplingRow& row) {
    row.forced = rules.forced;
    row.edits_begin = edit_;
    for (const kernels::LogitEdit& edit : rules.edits) arrays_.edits[edit_++] = edit;
    row.edits_end = edit_;
    if (rules.mask.empty()) return;
    row.mask_begin = mask_word_;
    for (const uint32_t word : rules.mask) arrays_.mask_words[mask_word_++] = word;
  }

  void WriteRules(TokenRules& rules, kernels::SamplingRow& row) {
    row.forced = rules.forced();
    row.edits_begin = edit_;
    edit_ += rules.num_edits();
    row.edits_end = edit_;
    rules.WriteEdits(arrays_.edits.subspan(row.edits_begin, rules.num_edits()));
    if (rules.mask_words() == 0) return;
    row.mask_begin = mask_word_;
    mask_word_ += rules.mask_words();
    rules.WriteMask(arrays_.mask_words.subspan(row.mask_begin, rules.mask_words()));
  }

  const SamplingBlock::Arrays arrays_;
  // Where the next element goes, by the count that the arrays have; of the step's tokens, how many
  // the chunks so far have.
  int token_ = 0;
  int draw_ = 0;
  int score_ = 0;
  int edit_ = 0;
  int mask_word_ = 0;
};

}  // namespace

StepBlock WriteForward(const std::vector<ChunkOfSequence>& chunks,
                       std::pmr::memory_resource* memory) {
  kernels::StepCounts counts;
  for (const ChunkOfSequence& part : chunks) {
    counts.num_tokens += part.chunk->num_tokens;
    counts.num_seqs += 1;
    counts.num_table_entries += NewBlocks(part);
  }
  StepBlock block(counts, memory);
  ForwardWriter writer(block);
  for (const ChunkOfSequence& part : chunks) writer.Write(part);
  return block;
}

SamplingBlock WriteSampling(const std::vector<ChunkOfSequence>& chunks,
                            std::pmr::memory_resource* memory) {
  kernels::SamplingCounts counts;
  for (const ChunkOfSequence& part : chunks) {
    counts.num_logit_rows += part.chunk->num_draws();
    counts.num_score_rows += part.chunk->num_scores;
    if (!part.chunk->draws || part.sequence->rules == nullptr) continue;
    if (part.rules != nullptr) {
      for (const DrawRules& draw : *part.rules) {
        counts.num_edits += static_cast<int32_t>(draw.edits.size());
        counts.num_mask_words += static_cast<int32_t>(draw.mask.size());
      }
      continue;
    }
    counts.num_edits += part.sequence->rules->num_edits();
    counts.num_mask_words += part.sequence->rules->mask_words();
  }
  SamplingBlock block(counts, memory);
  SamplingWriter writer(block);
  for (const ChunkOfSequence& part : chunks) writer.Write(part);
  return block;
}

}  // namespace phalanx
