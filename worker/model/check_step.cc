#include "worker/model/check_step.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "base/status.h"
#include "model/generation/sampling.h"

namespace phalanx {
namespace {

template <typename... Parts>
absl::Status Bad(const Parts&... parts) {
  return absl::InternalError(absl::StrCat("step plan: ", parts...));
}

absl::Status CheckCount(absl::string_view name, size_t count, size_t least, size_t most) {
  if (count >= least && count <= most) return absl::OkStatus();
  return Bad(count, " ", name, ", where ", least, " to ", most, " are allowed");
}

// Checked first: all other checks index the arrays by these sizes.
absl::Status CheckSizes(const StepInput& input, const StepLimits& limits, bool samples) {
  RETURN_IF_ERROR(CheckCount("token_ids", input.token_ids.size(), 1, limits.max_step_tokens));
  RETURN_IF_ERROR(CheckCount("kv_lengths", input.kv_lengths.size(), 1, limits.max_seqs));
  RETURN_IF_ERROR(CheckCount("logit_rows", input.logit_rows.size(), 0, limits.max_seqs));
  const size_t tokens = input.token_ids.size();
  const size_t seqs = input.kv_lengths.size();
  RETURN_IF_ERROR(CheckCount("positions", input.positions.size(), tokens, tokens));
  RETURN_IF_ERROR(CheckCount("query_starts", input.query_starts.size(), seqs + 1, seqs + 1));
  if (input.max_blocks_per_seq < 1 || input.max_blocks_per_seq > limits.max_blocks_per_seq) {
    return Bad("max_blocks_per_seq ", input.max_blocks_per_seq, ", where 1 to ",
               limits.max_blocks_per_seq, " are allowed");
  }
  const size_t blocks = seqs * input.max_blocks_per_seq;
  RETURN_IF_ERROR(CheckCount("block_tables", input.block_tables.size(), blocks, blocks));
  if (!input.rope_lists.empty()) {
    RETURN_IF_ERROR(CheckCount("rope_lists", input.rope_lists.size(), seqs, seqs));
  }
  RETURN_IF_ERROR(CheckCount("score_rows", input.score_rows.size(), 0, tokens));
  // Other ranks than the one that samples are not sent these arrays.
  if (!samples) return absl::OkStatus();
  const size_t rows = input.logit_rows.size();
  RETURN_IF_ERROR(CheckCount("sampling", input.sampling.size(), rows, rows));
  const size_t scores = input.score_rows.size();
  return CheckCount("score_targets", input.score_targets.size(), scores, scores);
}

// Checks that the new tokens of sequence `seq` stand at the end of its kv_lengths tokens, one
// behind the other, and that the cache has a block for each of those.
absl::Status CheckSequence(const StepInput& input, const StepLimits& limits, int seq) {
  const int begin = input.query_starts[seq];
  const int end = input.query_starts[seq + 1];
  if (end <= begin || end > input.num_tokens()) {
    return Bad("query_starts[", seq + 1, "] is ", end, " after ", begin);
  }
  const int length = input.kv_lengths[seq];
  const int64_t most = int64_t{input.max_blocks_per_seq} * kernels::kKvBlockTokens;
  if (length < end - begin || length > most) {
    return Bad("kv_lengths[", seq, "] is ", length, ", with ", end - begin, " new tokens and ",
               input.max_blocks_per_seq, " blocks");
  }
  for (int token = begin; token < end; ++token) {
    if (input.positions[token] != length - (end - token)) {
      return Bad("positions[", token, "] is ", input.positions[token], ", where ",
                 length - (end - token), " follows from kv_lengths");
    }
  }
  // Entries after these are never read, and may hold anything.
  const int blocks = (length + kernels::kKvBlockTokens - 1) / kernels::kKvBlockTokens;
  const absl::Span<const int32_t> table =
      absl::MakeConstSpan(input.block_tables).subspan(seq * input.max_blocks_per_seq, blocks);
  for (const int32_t block : table) {
    if (block < 0 || block >= limits.kv_blocks) {
      return Bad("block_tables of sequence ", seq, " holds ", block, " of ", limits.kv_blocks);
    }
  }
  return absl::OkStatus();
}

absl::Status CheckIds(absl::string_view name, absl::Span<const int32_t> ids, int end) {
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= end) return Bad(name, "[", i, "] is ", ids[i], " of ", end);
  }
  return absl::OkStatus();
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

absl::Status CheckSamplingRows(const StepInput& input) {
  for (size_t i = 0; i < input.sampling.size(); ++i) {
    const kernels::SamplingRow& row = input.sampling[i];
    const absl::Status status =
        CheckSampling({.temperature = row.temperature, .top_k = row.top_k, .top_p = row.top_p});
    if (!status.ok()) return Bad("sampling[", i, "].", status.message());
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckStepInput(const StepInput& input, const StepLimits& limits, int vocab,
                            int rope_lists, bool samples) {
  RETURN_IF_ERROR(CheckSizes(input, limits, samples));
  if (input.query_starts.front() != 0 || input.query_starts.back() != input.num_tokens()) {
    return Bad("query_starts do not span the tokens");
  }
  // query_starts begins at 0 and ends at num_tokens, and CheckSequence refuses a sequence without
  // new tokens, so the sequences cover each token once.
  for (int seq = 0; seq < input.num_seqs(); ++seq) {
    RETURN_IF_ERROR(CheckSequence(input, limits, seq));
  }
  RETURN_IF_ERROR(CheckIds("token_ids", input.token_ids, vocab));
  RETURN_IF_ERROR(CheckIds("rope_lists", input.rope_lists, rope_lists));
  RETURN_IF_ERROR(CheckRows("logit_rows", input.logit_rows, input.num_tokens()));
  RETURN_IF_ERROR(CheckRows("score_rows", input.score_rows, input.num_tokens()));
  if (!samples) return absl::OkStatus();
  RETURN_IF_ERROR(CheckIds("score_targets", input.score_targets, vocab));
  return CheckSamplingRows(input);
}

}  // namespace phalanx
