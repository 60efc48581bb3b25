#include "worker/step/testing/step_builder.h"

#include <cstring>
#include <utility>

#include "base/log.h"

namespace phalanx {
namespace {

// A block with the elements of `vectors`, whose sizes must be those that `counts` ask for.
template <typename List, typename Vectors>
FlatBlock<List> Pack(const typename List::Counts& counts, Vectors& vectors) {
  FlatBlock<List> block(counts);
  std::vector<const void*> sources;
  List::ForEach(counts, vectors, [&](const char* name, auto& vector, size_t elements) {
    CHECK(vector.size() == elements) << name;
    sources.push_back(vector.data());
  });
  auto arrays = block.arrays();
  auto source = sources.begin();
  List::ForEach(counts, arrays, [&]<typename T>(const char*, absl::Span<T> span, int64_t) {
    if (!span.empty()) std::memcpy(span.data(), *source, span.size() * sizeof(T));
    ++source;
  });
  return block;
}

}  // namespace

void StepBuilder::Add(TestSequence& sequence, int count, const kernels::SamplingRow& sampling) {
  CHECK(count >= 1 && count <= sequence.pending_tokens());
  const auto seq = static_cast<int32_t>(forward_.kv_lengths.size());
  for (int i = 0; i < count; ++i) {
    forward_.positions.push_back(sequence.cached_tokens);
    forward_.token_ids.push_back(sequence.tokens[sequence.cached_tokens++]);
    forward_.seq_of_token.push_back(seq);
  }
  const auto num_tokens = static_cast<int32_t>(forward_.token_ids.size());
  forward_.query_starts.resize(seq + 1, 0);
  forward_.query_starts.push_back(num_tokens);
  forward_.kv_lengths.push_back(sequence.cached_tokens);
  forward_.slots.push_back(sequence.slot);
  forward_.rope_lists.push_back(sequence.rope_list);
  const int blocks =
      (sequence.cached_tokens + kernels::kKvBlockTokens - 1) / kernels::kKvBlockTokens;
  CHECK(blocks <= static_cast<int>(sequence.blocks.size()));
  for (int& i = sequence.blocks_told; i < blocks; ++i) {
    forward_.table_entries.push_back({sequence.slot, i, sequence.blocks[i]});
  }
  if (sequence.pending_tokens() > 0) return;
  sampling_.logit_rows.push_back(num_tokens - 1);
  sampling_.sampling.push_back(sampling);
  sampling_.sampling.back().position = sequence.cached_tokens;
  sampling_.logit_slots.push_back(sequence.slot);
}

void StepBuilder::WantAllLogits() {
  const int32_t begin = forward_.query_starts[forward_.kv_lengths.size() - 1];
  while (!sampling_.logit_rows.empty() && sampling_.logit_rows.back() >= begin) {
    sampling_.logit_rows.pop_back();
    sampling_.sampling.pop_back();
    sampling_.logit_slots.pop_back();
  }
  for (int32_t row = begin; row < forward_.query_starts.back(); ++row) {
    sampling_.logit_rows.push_back(row);
    sampling_.sampling.emplace_back();
    sampling_.logit_slots.push_back(forward_.slots.back());
  }
}

void StepBuilder::Adjust(const std::vector<kernels::LogitEdit>& edits,
                         const std::vector<uint32_t>& mask) {
  kernels::SamplingRow& row = sampling_.sampling.back();
  row.edits_begin = static_cast<int32_t>(sampling_.edits.size());
  sampling_.edits.insert(sampling_.edits.end(), edits.begin(), edits.end());
  row.edits_end = static_cast<int32_t>(sampling_.edits.size());
  if (mask.empty()) return;
  row.mask_begin = static_cast<int32_t>(sampling_.mask_words.size());
  sampling_.mask_words.insert(sampling_.mask_words.end(), mask.begin(), mask.end());
}

void StepBuilder::Score(int32_t row, int32_t target) {
  sampling_.score_rows.push_back(row);
  sampling_.score_targets.push_back(target);
}

Step StepBuilder::Finish() {
  ForwardArrays forward = std::exchange(forward_, {});
  SamplingArrays sampling = std::exchange(sampling_, {});
  const kernels::StepCounts counts = {
      .num_tokens = static_cast<int32_t>(forward.token_ids.size()),
      .num_seqs = static_cast<int32_t>(forward.kv_lengths.size()),
      .num_table_entries = static_cast<int32_t>(forward.table_entries.size())};
  const kernels::SamplingCounts rows = {
      .num_logit_rows = static_cast<int32_t>(sampling.logit_rows.size()),
      .num_score_rows = static_cast<int32_t>(sampling.score_rows.size()),
      .num_edits = static_cast<int32_t>(sampling.edits.size()),
      .num_mask_words = static_cast<int32_t>(sampling.mask_words.size())};
  return {.forward = Pack<kernels::StepList>(counts, forward),
          .sampling = Pack<kernels::SamplingList>(rows, sampling)};
}

}  // namespace phalanx
