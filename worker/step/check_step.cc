#include "worker/step/check_step.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "base/status.h"
#include "kernels/step_batch.h"
#include "model/generation/sampling.h"

namespace phalanx {
namespace {

using kernels::kKvBlockTokens;
using kernels::kLastToken;

template <typename... Parts>
absl::Status Bad(const Parts&... parts) {
  return absl::InternalError(absl::StrCat("step: ", parts...));
}

absl::Status CheckCount(absl::string_view name, int count, int least, int most) {
  if (count >= least && count <= most) return absl::OkStatus();
  return Bad(count, " ", name, ", where ", least, " to ", most, " are allowed");
}

absl::Status CheckId(absl::string_view name, size_t i, int id, int begin, int end) {
  if (id >= begin && id < end) return absl::OkStatus();
  return Bad(name, "[", i, "] is ", id, ", where ", begin, " to ", end - 1, " are allowed");
}

// Rows must ascend, so none is computed twice.
absl::Status CheckRows(absl::string_view name, absl::Span<const int32_t> rows, int num_tokens) {
  int previous = -1;
  for (const int32_t row : rows) {
    if (row <= previous || row >= num_tokens) {
      return Bad(name, " holds ", row, " after ", previous, " of ", num_tokens);
    }
    previous = row;
  }
  return absl::OkStatus();
}

}  // namespace

kernels::StepCounts LargestStep(const StepLimits& limits) {
  // An entry of a block table comes with the first token that needs it, so there are no more of
  // these than tokens. Others come with the first token of a sequence whose beginning was found in
  // the prefix cache: in one step for a whole table at most.
  return {.num_tokens = limits.max_step_tokens,
          .num_seqs = limits.max_seqs,
          .num_table_entries = limits.max_step_tokens + limits.max_blocks_per_seq};
}

kernels::SamplingCounts LargestSampling(const StepLimits& limits, int64_t vocab) {
  return {.num_logit_rows = limits.max_seqs,
          .num_score_rows = limits.max_step_tokens,
          .num_edits = kMaxStepEdits,
          .num_mask_words = static_cast<int32_t>(limits.max_seqs * kernels::MaskWords(vocab))};
}

StepChecker::StepChecker(const StepLimits& limits, int vocab, int rope_lists)
    : limits_(limits), vocab_(vocab), rope_lists_(rope_lists), slots_(limits.max_seqs) {
  slot_of_token_.reserve(limits.max_step_tokens);
}

absl::Status StepChecker::CheckForward(const StepBlock& forward) {
  if (sampling_is_due_) return Bad("a forward part, and the sampling of the one before is missing");
  const kernels::StepCounts n = forward.counts();
  const kernels::StepCounts most = LargestStep(limits_);
  RETURN_IF_ERROR(CheckCount("tokens", n.num_tokens, 1, most.num_tokens));
  RETURN_IF_ERROR(CheckCount("sequences", n.num_seqs, 1, most.num_seqs));
  RETURN_IF_ERROR(CheckCount("table_entries", n.num_table_entries, 0, most.num_table_entries));

  const StepBlock::ConstArrays arrays = forward.arrays();
  Slots slots = slots_;
  for (Slot& slot : slots) slot.in_step = false;
  RETURN_IF_ERROR(CheckTableEntries(arrays, slots));
  if (arrays.query_starts.front() != 0 || arrays.query_starts.back() != n.num_tokens) {
    return Bad("query_starts do not span the tokens");
  }
  // query_starts begins at 0 and ends at num_tokens, and CheckSequence refuses a sequence without
  // new tokens, so the sequences cover each token once.
  for (int seq = 0; seq < n.num_seqs; ++seq) RETURN_IF_ERROR(CheckSequence(arrays, seq, slots));
  slots_ = std::move(slots);
  slot_of_token_.clear();
  for (const int32_t seq : arrays.seq_of_token) slot_of_token_.push_back(arrays.slots[seq]);
  sampling_is_due_ = true;
  return absl::OkStatus();
}

absl::Status StepChecker::CheckSampling(const SamplingBlock& sampling) {
  if (!sampling_is_due_) return Bad("a sampling part without a forward part");
  const kernels::SamplingCounts n = sampling.counts();
  const kernels::SamplingCounts most = LargestSampling(limits_, vocab_);
  RETURN_IF_ERROR(CheckCount("logit_rows", n.num_logit_rows, 0, most.num_logit_rows));
  RETURN_IF_ERROR(CheckCount("score_rows", n.num_score_rows, 0, most.num_score_rows));
  RETURN_IF_ERROR(CheckCount("edits", n.num_edits, 0, most.num_edits));
  RETURN_IF_ERROR(CheckCount("mask_words", n.num_mask_words, 0, most.num_mask_words));

  const SamplingBlock::ConstArrays rows = sampling.arrays();
  const int num_tokens = static_cast<int>(slot_of_token_.size());
  RETURN_IF_ERROR(CheckRows("logit_rows", rows.logit_rows, num_tokens));
  RETURN_IF_ERROR(CheckRows("score_rows", rows.score_rows, num_tokens));
  for (size_t i = 0; i < rows.score_targets.size(); ++i) {
    RETURN_IF_ERROR(CheckId("score_targets", i, rows.score_targets[i], 0, vocab_));
  }
  for (size_t i = 0; i < rows.logit_rows.size(); ++i) {
    RETURN_IF_ERROR(CheckRow(rows, i));
    RETURN_IF_ERROR(CheckSlot(rows, i));
  }
  for (size_t i = 0; i < rows.logit_slots.size(); ++i) {
    // Of several rows of a slot it is not said which one's token it keeps.
    slots_[rows.logit_slots[i]].has_token =
        i == 0 || rows.logit_slots[i - 1] != rows.logit_slots[i];
  }
  sampling_is_due_ = false;
  return absl::OkStatus();
}

absl::Status StepChecker::Check(const Step& step) {
  Slots before = slots_;
  RETURN_IF_ERROR(CheckForward(step.forward));
  absl::Status status = CheckSampling(step.sampling);
  if (!status.ok()) {
    slots_ = std::move(before);
    sampling_is_due_ = false;
  }
  return status;
}

absl::Status StepChecker::CheckTableEntries(const StepBlock::ConstArrays& arrays,
                                            Slots& slots) const {
  for (size_t i = 0; i < arrays.table_entries.size(); ++i) {
    const kernels::TableEntry& entry = arrays.table_entries[i];
    RETURN_IF_ERROR(CheckId("table_entries.slot", i, entry.slot, 0, limits_.max_seqs));
    RETURN_IF_ERROR(CheckId("table_entries.block", i, entry.block, 1, limits_.kv_blocks + 1));
    RETURN_IF_ERROR(CheckId("table_entries.index", i, entry.index, 0, limits_.max_blocks_per_seq));
    Slot& slot = slots[entry.slot];
    // Another sequence has the slot from here.
    if (entry.index == 0) slot = Slot();
    if (entry.index > slot.blocks) {
      return Bad("table_entries[", i, "] sets entry ", entry.index, " of slot ", entry.slot,
                 ", which has ", slot.blocks);
    }
    if (entry.index < slot.blocks) slot.again = std::min(slot.again, entry.index);
    slot.blocks = entry.index + 1;
  }
  return absl::OkStatus();
}

// Checks that the new tokens of sequence `seq` stand at the end of its kv_lengths tokens, one
// behind the other, and that the cache has a block for each of those.
absl::Status StepChecker::CheckSequence(const StepBlock::ConstArrays& arrays, int seq,
                                        Slots& slots) const {
  const int begin = arrays.query_starts[seq];
  const int end = arrays.query_starts[seq + 1];
  if (end <= begin || end > static_cast<int>(arrays.token_ids.size())) {
    return Bad("query_starts[", seq + 1, "] is ", end, " after ", begin);
  }
  RETURN_IF_ERROR(CheckId("slots", seq, arrays.slots[seq], 0, limits_.max_seqs));
  RETURN_IF_ERROR(CheckId("rope_lists", seq, arrays.rope_lists[seq], 0, rope_lists_));
  Slot& slot = slots[arrays.slots[seq]];
  if (slot.in_step) return Bad("slot ", arrays.slots[seq], " has two sequences");
  slot.in_step = true;
  const int length = arrays.kv_lengths[seq];
  if (length < end - begin || length > int64_t{slot.blocks} * kKvBlockTokens) {
    return Bad("kv_lengths[", seq, "] is ", length, ", with ", end - begin, " new tokens and ",
               slot.blocks, " blocks");
  }
  if (slot.again != kNone && length - (end - begin) > slot.again * kKvBlockTokens) {
    return Bad("entry ", slot.again, " of slot ", arrays.slots[seq],
               " comes again, and the tokens in it do not: the first one of sequence ", seq,
               " is at ", length - (end - begin));
  }
  slot.again = kNone;
  return CheckTokens(arrays, seq, slot);
}

absl::Status StepChecker::CheckTokens(const StepBlock::ConstArrays& arrays, int seq,
                                      const Slot& slot) const {
  const int end = arrays.query_starts[seq + 1];
  for (int token = arrays.query_starts[seq]; token < end; ++token) {
    const int position = arrays.kv_lengths[seq] - (end - token);
    if (arrays.positions[token] != position) {
      return Bad("positions[", token, "] is ", arrays.positions[token], ", where ", position,
                 " follows from kv_lengths");
    }
    if (arrays.seq_of_token[token] != seq) {
      return Bad("seq_of_token[", token, "] is ", arrays.seq_of_token[token], " instead of ", seq);
    }
    const bool may_be_drawn = slot.has_token && token == end - 1;
    if (arrays.token_ids[token] == kLastToken && may_be_drawn) continue;
    RETURN_IF_ERROR(CheckId("token_ids", token, arrays.token_ids[token], 0, vocab_));
  }
  return absl::OkStatus();
}

absl::Status StepChecker::CheckRow(const SamplingBlock::ConstArrays& rows, size_t i) const {
  const kernels::SamplingRow& row = rows.sampling[i];
  const absl::Status status = phalanx::CheckSampling({.temperature = row.temperature,
                                                      .top_k = row.top_k,
                                                      .top_p = row.top_p,
                                                      .min_p = row.min_p,
                                                      .typical_p = row.typical_p,
                                                      .repetition_penalty = row.repetition_penalty,
                                                      .presence_penalty = row.presence_penalty,
                                                      .frequency_penalty = row.frequency_penalty});
  if (!status.ok()) return Bad("sampling[", i, "].", status.message());
  RETURN_IF_ERROR(CheckId("sampling.forced", i, row.forced, kernels::kNotForced, vocab_));
  RETURN_IF_ERROR(CheckId("sampling.log_probs", i, row.log_probs, kernels::kNoLogProbs,
                          kernels::kMaxTopLogProbs + 1));
  const auto mask_words = static_cast<int64_t>(rows.mask_words.size());
  const bool has_mask = row.mask_begin != kernels::kNoMask;
  if (has_mask &&
      (row.mask_begin < 0 || row.mask_begin + kernels::MaskWords(vocab_) > mask_words)) {
    return Bad("sampling[", i, "].mask_begin is ", row.mask_begin, " of ", mask_words, " words");
  }
  const auto edits = static_cast<int64_t>(rows.edits.size());
  if (row.edits_begin < 0 || row.edits_end < row.edits_begin || row.edits_end > edits) {
    return Bad("sampling[", i, "] has the edits ", row.edits_begin, " to ", row.edits_end, " of ",
               edits);
  }
  int32_t previous = -1;
  for (int32_t e = row.edits_begin; e < row.edits_end; ++e) {
    const int32_t token = rows.edits[e].token;
    if (token <= previous || token >= vocab_) {
      return Bad("edits[", e, "] is of token ", token, " after ", previous);
    }
    previous = token;
  }
  return absl::OkStatus();
}

absl::Status StepChecker::CheckSlot(const SamplingBlock::ConstArrays& rows, size_t i) const {
  const int32_t slot = slot_of_token_[rows.logit_rows[i]];
  if (rows.logit_slots[i] == slot) return absl::OkStatus();
  return Bad("logit_slots[", i, "] is ", rows.logit_slots[i], " instead of ", slot);
}

}  // namespace phalanx
