#include "worker/engine/fake_step_executor.h"

#include <algorithm>

#include "base/log.h"
#include "kernels/ops.h"

namespace phalanx {

using kernels::kKvBlockTokens;

FakeStepExecutor::FakeStepExecutor(const StepLimits& limits, int vocab_size)
    : limits_(limits),
      vocab_size_(vocab_size),
      arena_(static_cast<size_t>(limits.kv_blocks) * kKvBlockTokens, -1),
      used_in_step_(limits.kv_blocks, -1) {}

absl::StatusOr<std::vector<int32_t>> FakeStepExecutor::Execute(const StepInput& input) {
  {
    MutexLock lock(&mutex_);
    CHECK(!failed_) << "a step after the executor failed";
    failed_ = !next_status_.ok();
    ++steps_;
  }
  if (hook_) hook_(input);
  CheckShapes(input);
  for (int seq = 0; seq < input.num_seqs(); ++seq) {
    CheckSequence(input, seq);
    WriteKv(input, seq);
  }
  std::vector<int32_t> tokens;
  for (int row = 0; row < input.num_logit_rows(); ++row) {
    const auto end = std::upper_bound(input.query_starts.begin(), input.query_starts.end(),
                                      input.logit_rows[row]);
    const int seq = static_cast<int>(end - input.query_starts.begin()) - 1;
    CHECK(input.sampling[row].position == input.kv_lengths[seq]);
    std::vector<int32_t> history;
    history.reserve(input.kv_lengths[seq]);
    for (int i = 0; i < input.kv_lengths[seq]; ++i) history.push_back(Slot(input, seq, i));
    tokens.push_back(NextToken(history));
  }
  MutexLock lock(&mutex_);
  if (failed_) return next_status_;
  return tokens;
}

void FakeStepExecutor::CheckShapes(const StepInput& input) const {
  CHECK(input.num_tokens() >= 1 && input.num_tokens() <= limits_.max_step_tokens);
  CHECK(input.num_seqs() >= 1 && input.num_seqs() <= limits_.max_seqs);
  CHECK(input.positions.size() == input.token_ids.size());
  CHECK(input.query_starts.size() == input.kv_lengths.size() + 1);
  CHECK(input.query_starts.front() == 0 && input.query_starts.back() == input.num_tokens());
  CHECK(input.max_blocks_per_seq <= limits_.max_blocks_per_seq);
  CHECK(input.block_tables.size() ==
        input.kv_lengths.size() * static_cast<size_t>(input.max_blocks_per_seq));
  CHECK(input.sampling.size() == input.logit_rows.size());
  CHECK(std::is_sorted(input.logit_rows.begin(), input.logit_rows.end()));
}

void FakeStepExecutor::CheckSequence(const StepInput& input, int seq) {
  const int begin = input.query_starts[seq];
  const int end = input.query_starts[seq + 1];
  CHECK(begin < end);
  for (int t = begin; t < end; ++t) {
    CHECK(input.positions[t] == input.positions[begin] + t - begin);
    CHECK(input.token_ids[t] >= 0 && input.token_ids[t] < vocab_size_);
  }
  CHECK(input.kv_lengths[seq] == input.positions[end - 1] + 1);
  const int num_blocks = (input.kv_lengths[seq] + kKvBlockTokens - 1) / kKvBlockTokens;
  CHECK(num_blocks <= input.max_blocks_per_seq);
  for (int i = 0; i < num_blocks; ++i) {
    const int block = input.block_tables[seq * input.max_blocks_per_seq + i];
    CHECK(block >= 0 && block < limits_.kv_blocks);
    const int step = steps();
    CHECK(used_in_step_[block] != step) << "block " << block << " is in two sequences";
    used_in_step_[block] = step;
  }
}

void FakeStepExecutor::WriteKv(const StepInput& input, int seq) {
  for (int t = input.query_starts[seq]; t < input.query_starts[seq + 1]; ++t) {
    Slot(input, seq, input.positions[t]) = input.token_ids[t];
  }
}

int32_t& FakeStepExecutor::Slot(const StepInput& input, int seq, int position) {
  const int block = input.block_tables[seq * input.max_blocks_per_seq + position / kKvBlockTokens];
  return arena_[block * kKvBlockTokens + position % kKvBlockTokens];
}

// FNV-1a.
int32_t FakeStepExecutor::NextToken(absl::Span<const int32_t> history) const {
  uint64_t hash = 0xcbf29ce484222325;
  for (const int32_t token : history) hash = (hash ^ static_cast<uint32_t>(token)) * 0x100000001b3;
  return static_cast<int32_t>((hash >> 32) % vocab_size_);
}

std::vector<int32_t> FakeStepExecutor::Continuation(absl::Span<const int32_t> prompt,
                                                    int num_tokens) const {
  std::vector<int32_t> history(prompt.begin(), prompt.end());
  for (int i = 0; i < num_tokens; ++i) history.push_back(NextToken(history));
  return {history.begin() + prompt.size(), history.end()};
}

void FakeStepExecutor::FailWith(const absl::Status& status) {
  MutexLock lock(&mutex_);
  next_status_ = status;
}

int FakeStepExecutor::steps() const {
  MutexLock lock(&mutex_);
  return steps_;
}

}  // namespace phalanx
