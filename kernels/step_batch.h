// What the ops read of one step of the engine, a ragged batch of sequences, each with one or more
// new tokens.
//
// Two batches describe a step: StepBatch for the forward pass, and SamplingBatch for what is wanted
// of its logits, which is needed later. Each has one list of its arrays, and all that deals with
// every array is made from the list: the pointers that ops get, and the flat block of memory which
// the scheduler fills and which travels to the ranks and into backend memory
// (worker/step/flat_block.h).
#ifndef PHALANX_KERNELS_STEP_BATCH_H_
#define PHALANX_KERNELS_STEP_BATCH_H_

#include <cstdint>

namespace phalanx::kernels {

// Tokens in one block of the paged KV cache.
inline constexpr int kKvBlockTokens = 16;

// In place of a token id: the token that was drawn last for the sequence's slot. So a step can be
// planned before the host has seen the token of the step before it.
inline constexpr int32_t kLastToken = -1;

// The block that no sequence owns. Rows that only fill up a batch write their keys and values to
// it, and entries of block tables that were never set name it.
inline constexpr int32_t kPaddingBlock = 0;

// Sets one entry of a block table: the tokens from index * kKvBlockTokens on of the sequence in
// `slot` lie in `block`.
struct TableEntry {
  int32_t slot = 0;
  int32_t index = 0;
  int32_t block = 0;
};

// In SamplingRow::forced: the token is drawn.
inline constexpr int32_t kNotForced = -1;
// In SamplingRow::log_probs: none are wanted.
inline constexpr int32_t kNoLogProbs = -1;
// In SamplingRow::mask_begin: every token is allowed.
inline constexpr int32_t kNoMask = -1;
// The most tokens of a row whose log-probabilities can be asked for, beside that of its token.
inline constexpr int32_t kMaxTopLogProbs = 20;

// How to draw the token that follows one row of logits; see phalanx/v1/inference.proto for ranges.
struct SamplingRow {
  float temperature = 0.0f;  // 0: greedy.
  int32_t top_k = 0;         // 0: all.
  float top_p = 1.0f;
  float min_p = 0.0f;      // 0: all.
  float typical_p = 1.0f;  // 1: all.
  float repetition_penalty = 1.0f;
  float presence_penalty = 0.0f;
  float frequency_penalty = 0.0f;
  // The elements [edits_begin, edits_end) of SamplingBatch::edits are for this row.
  int32_t edits_begin = 0;
  int32_t edits_end = 0;
  // Where the row's bits begin in SamplingBatch::mask_words, or kNoMask.
  int32_t mask_begin = kNoMask;
  // The token that is taken whatever the logits are, as long as they are numbers, or kNotForced.
  int32_t forced = kNotForced;
  // The log-probability of the token is wanted, and those of this many that are likeliest, at most
  // kMaxTopLogProbs; or kNoLogProbs.
  int32_t log_probs = kNoLogProbs;
  int32_t position = 0;  // Of the token to be drawn; keys the generator together with seed.
  uint64_t seed = 0;
};

// What changes one logit of a row before a token is drawn; see kernels/sampling/logit_edit.h.
struct LogitEdit {
  int32_t token = 0;
  // How often the answer has the token so far.
  int32_t count = 0;
  // Added to the logit; -infinity forbids the token.
  float bias = 0.0f;
  // 1 if the prompt or the answer so far has the token, else 0.
  int32_t seen = 0;
};

// Words of a mask with a bit for each token of the vocabulary.
constexpr int64_t MaskWords(int64_t vocab) { return (vocab + 31) / 32; }

// Sizes of the arrays of StepBatch.
struct StepCounts {
  int32_t num_tokens = 0;
  int32_t num_seqs = 0;
  int32_t num_table_entries = 0;
};

// The arrays of StepBatch: type, name, and how many elements there are for the counts n.
//   token_ids      of sequence after sequence; kLastToken only for the last token of a sequence
//   positions      from 0 within the sequence
//   seq_of_token   index of the token's sequence in this batch
//   query_starts   first token of each sequence, then num_tokens
//   kv_lengths     tokens of each sequence in the cache after this step
//   slots          row of each sequence in block_tables and last_tokens
//   rope_lists     row of the inverse frequencies to use for each sequence
//   table_entries  changes of block_tables, made before the step begins
#define PHALANX_STEP_ARRAYS(ARRAY)                      \
  ARRAY(int32_t, token_ids, n.num_tokens)               \
  ARRAY(int32_t, positions, n.num_tokens)               \
  ARRAY(int32_t, seq_of_token, n.num_tokens)            \
  ARRAY(int32_t, query_starts, int64_t{n.num_seqs} + 1) \
  ARRAY(int32_t, kv_lengths, n.num_seqs)                \
  ARRAY(int32_t, slots, n.num_seqs)                     \
  ARRAY(int32_t, rope_lists, n.num_seqs)                \
  ARRAY(TableEntry, table_entries, n.num_table_entries)

// Sizes of the arrays of SamplingBatch.
struct SamplingCounts {
  int32_t num_logit_rows = 0;
  int32_t num_score_rows = 0;
  int32_t num_edits = 0;
  int32_t num_mask_words = 0;
};

// The arrays of SamplingBatch. Rows are tokens of the step, ascending.
//   logit_rows     after which of the step's tokens a token is drawn
//   sampling       how it is drawn
//   logit_slots    the slot whose last token it becomes; if several rows have the same, the token
//                  of any of them, and no step asks for it
//   edits          of row after row; those of a row have ascending tokens, each once
//   mask_words     of row after row, MaskWords(vocab) for each that has a mask: token t is allowed
//   if
//                  bit t % 32 of word t / 32 is set, the lowest bit being bit 0
//   score_rows     after which of the step's tokens the probability of a given next one is wanted
//   score_targets  these next ones
#define PHALANX_SAMPLING_ARRAYS(ARRAY)           \
  ARRAY(int32_t, logit_rows, n.num_logit_rows)   \
  ARRAY(SamplingRow, sampling, n.num_logit_rows) \
  ARRAY(int32_t, logit_slots, n.num_logit_rows)  \
  ARRAY(LogitEdit, edits, n.num_edits)           \
  ARRAY(uint32_t, mask_words, n.num_mask_words)  \
  ARRAY(int32_t, score_rows, n.num_score_rows)   \
  ARRAY(int32_t, score_targets, n.num_score_rows)

// The two lists as types, for templates. Arrays<Of> has a member Of<type> for each array. ForEach
// calls visit(name, arrays.name, elements) for each, in the order of the list.
#define PHALANX_ARRAY_MEMBER(type, name, elements) Of<type> name = {};
#define PHALANX_ARRAY_VISIT(type, name, elements) visit(#name, arrays.name, elements);
#define PHALANX_ARRAY_TEXT(type, name, elements) #type " " #name "[" #elements "];"

struct StepList {
  using Counts = StepCounts;
  // Names and types, so that two builds can tell whether they have the same list.
  static constexpr char kText[] = PHALANX_STEP_ARRAYS(PHALANX_ARRAY_TEXT);

  template <template <typename> class Of>
  struct Arrays {
    PHALANX_STEP_ARRAYS(PHALANX_ARRAY_MEMBER)
  };
  template <typename ArraysOf, typename Visit>
  static void ForEach(const Counts& n, ArraysOf& arrays, Visit visit) {
    PHALANX_STEP_ARRAYS(PHALANX_ARRAY_VISIT)
  }
};

struct SamplingList {
  using Counts = SamplingCounts;
  static constexpr char kText[] = PHALANX_SAMPLING_ARRAYS(PHALANX_ARRAY_TEXT);

  template <template <typename> class Of>
  struct Arrays {
    PHALANX_SAMPLING_ARRAYS(PHALANX_ARRAY_MEMBER)
  };
  template <typename ArraysOf, typename Visit>
  static void ForEach(const Counts& n, ArraysOf& arrays, Visit visit) {
    PHALANX_SAMPLING_ARRAYS(PHALANX_ARRAY_VISIT)
  }
};

#undef PHALANX_ARRAY_MEMBER
#undef PHALANX_ARRAY_VISIT
#undef PHALANX_ARRAY_TEXT

template <typename T>
using ConstPointer = const T*;

// All arrays are in backend memory.
struct StepBatch : StepCounts, StepList::Arrays<ConstPointer> {
  // What stays from step to step. Each has a row for each slot.
  int max_blocks_per_seq = 0;
  int32_t* block_tables = nullptr;  // [slots, max_blocks_per_seq], block numbers
  int32_t* last_tokens = nullptr;   // [slots], the token that was drawn last
};

struct SamplingBatch : SamplingCounts, SamplingList::Arrays<ConstPointer> {
  // What the host knows of `sampling`: false only if no row is drawn at random, or no row is cut
  // off in that way. Ops may leave work out that no row wants.
  bool wants_draw = true;
  bool wants_top_k = true;
  bool wants_top_p = true;
  bool wants_typical_p = true;
  // Whether a row has edits or a mask.
  bool wants_adjustment = true;
  // The highest SamplingRow::log_probs of all rows.
  int32_t log_probs = kMaxTopLogProbs;
};

// For ops on the CPU.

// The id of token t.
inline int32_t TokenId(const StepBatch& batch, int64_t t) {
  const int32_t id = batch.token_ids[t];
  return id == kLastToken ? batch.last_tokens[batch.slots[batch.seq_of_token[t]]] : id;
}

// The block table of the sequence of token t.
inline const int32_t* BlockTable(const StepBatch& batch, int64_t t) {
  const int64_t slot = batch.slots[batch.seq_of_token[t]];
  return batch.block_tables + slot * batch.max_blocks_per_seq;
}

// What Backend::UpdateBlockTables does.
inline void ApplyTableEntries(const StepBatch& batch) {
  for (int32_t i = 0; i < batch.num_table_entries; ++i) {
    const TableEntry& entry = batch.table_entries[i];
    batch.block_tables[int64_t{entry.slot} * batch.max_blocks_per_seq + entry.index] = entry.block;
  }
}

// What Backend::StoreLastTokens does.
inline void SetLastTokens(const SamplingBatch& batch, const int32_t* tokens, int32_t* last_tokens) {
  for (int32_t i = 0; i < batch.num_logit_rows; ++i) last_tokens[batch.logit_slots[i]] = tokens[i];
}

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_STEP_BATCH_H_
