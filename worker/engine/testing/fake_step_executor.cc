#include "worker/engine/testing/fake_step_executor.h"

#include <algorithm>
#include <limits>

#include "base/log.h"
#include "kernels/ops.h"
#include "kernels/sampling/sample.h"

namespace phalanx {

using kernels::kKvBlockTokens;

FakeStepExecutor::FakeStepExecutor(const StepLimits& limits, int vocab_size)
    : limits_(limits),
      vocab_size_(vocab_size),
      arena_(static_cast<size_t>(limits.kv_blocks) * kKvBlockTokens, -1),
      used_in_step_(limits.kv_blocks, -1) {}

namespace {

// FNV-1a.
uint64_t Hash(absl::Span<const int32_t> history) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const int32_t kv : history) hash = (hash ^ static_cast<uint32_t>(kv)) * 0x100000001b3;
  return hash;
}

int SequenceOf(const StepInput& input, int token) {
  const auto end = std::upper_bound(input.query_starts.begin(), input.query_starts.end(), token);
  return static_cast<int>(end - input.query_starts.begin()) - 1;
}

}  // namespace

absl::StatusOr<StepResult> FakeStepExecutor::Execute(const StepInput& input) {
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
  StepResult result;
  for (int row = 0; row < input.num_logit_rows(); ++row) {
    const int seq = SequenceOf(input, input.logit_rows[row]);
    CHECK(input.sampling[row].position == input.kv_lengths[seq]);
    const std::vector<int32_t> history = History(input, seq, input.kv_lengths[seq]);
    result.tokens.push_back(IsBroken(history) ? kernels::kNoToken : NextToken(history));
  }
  for (int row = 0; row < input.num_score_rows(); ++row) {
    const int token = input.score_rows[row];
    const std::vector<int32_t> history =
        History(input, SequenceOf(input, token), input.positions[token] + 1);
    result.log_probs.push_back(IsBroken(history) ? std::numeric_limits<float>::quiet_NaN()
                                                 : LogProb(history, input.score_targets[row]));
  }
  MutexLock lock(&mutex_);
  if (failed_) return next_status_;
  return result;
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
  CHECK(input.rope_lists.size() == input.kv_lengths.size());
  CHECK(input.score_targets.size() == input.score_rows.size());
  CHECK(std::is_sorted(input.score_rows.begin(), input.score_rows.end()));
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
    Slot(input, seq, input.positions[t]) = KvOf(input.token_ids[t], input.rope_lists[seq]);
  }
}

int32_t& FakeStepExecutor::Slot(const StepInput& input, int seq, int position) {
  const int block = input.block_tables[seq * input.max_blocks_per_seq + position / kKvBlockTokens];
  return arena_[block * kKvBlockTokens + position % kKvBlockTokens];
}

std::vector<int32_t> FakeStepExecutor::History(const StepInput& input, int seq, int length) {
  std::vector<int32_t> history;
  history.reserve(length);
  for (int i = 0; i < length; ++i) history.push_back(Slot(input, seq, i));
  return history;
}

bool FakeStepExecutor::IsBroken(absl::Span<const int32_t> history) const {
  return broken_token_.has_value() &&
         std::any_of(history.begin(), history.end(),
                     [this](int32_t kv) { return kv / 2 == *broken_token_; });
}

int32_t FakeStepExecutor::NextToken(absl::Span<const int32_t> history) const {
  return static_cast<int32_t>((Hash(history) >> 32) % vocab_size_);
}

float FakeStepExecutor::LogProb(absl::Span<const int32_t> history, int32_t target) {
  return -static_cast<float>((Hash(history) >> 40) % 1000) - static_cast<float>(target) / 1024.0f;
}

std::vector<int32_t> FakeStepExecutor::Continuation(absl::Span<const int32_t> prompt,
                                                    int num_tokens, const RopePlan& rope) const {
  std::vector<int32_t> tokens(prompt.begin(), prompt.end());
  const int border = rope.switch_above_tokens;
  for (int i = 0; i < num_tokens; ++i) {
    const bool switched = border > 0 && static_cast<int>(tokens.size()) > border;
    std::vector<int32_t> history;
    history.reserve(tokens.size());
    for (const int32_t token : tokens) {
      history.push_back(KvOf(token, switched ? kLongRopeList : rope.list));
    }
    tokens.push_back(NextToken(history));
  }
  return {tokens.begin() + prompt.size(), tokens.end()};
}

std::vector<float> FakeStepExecutor::LogProbs(absl::Span<const int32_t> tokens,
                                              int rope_list) const {
  std::vector<float> log_probs;
  std::vector<int32_t> history;
  for (size_t i = 0; i + 1 < tokens.size(); ++i) {
    history.push_back(KvOf(tokens[i], rope_list));
    log_probs.push_back(LogProb(history, tokens[i + 1]));
  }
  return log_probs;
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
