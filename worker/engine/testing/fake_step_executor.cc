#include "worker/engine/testing/fake_step_executor.h"

#include <algorithm>
#include <limits>
#include <map>
#include <set>
#include <utility>

#include "base/log.h"
#include "base/status.h"
#include "kernels/ops.h"
#include "kernels/sampling/sample.h"

namespace phalanx {

using kernels::kKvBlockTokens;

FakeStepExecutor::FakeStepExecutor(const StepLimits& limits, int vocab_size, int max_in_flight)
    : limits_(limits),
      vocab_size_(vocab_size),
      max_in_flight_(max_in_flight),
      // Both rotary lists, whether or not the test uses them.
      checker_(std::in_place, limits, vocab_size, /*rope_lists=*/2),
      tables_(limits.max_seqs),
      owners_(limits.max_seqs, -1),
      last_tokens_(limits.max_seqs, -1),
      arena_(static_cast<size_t>(limits.kv_blocks + 1) * kKvBlockTokens, -1) {}

namespace {

// FNV-1a.
uint64_t Hash(absl::Span<const int32_t> history) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const int32_t kv : history) hash = (hash ^ static_cast<uint32_t>(kv)) * 0x100000001b3;
  return hash;
}

}  // namespace

absl::Status FakeStepExecutor::Submit(Step step) {
  RETURN_IF_ERROR(SubmitForward(std::move(step.forward)));
  CHECK_OK(checker_->CheckSampling(step.sampling));
  in_flight_.back().step.sampling = std::move(step.sampling);
  in_flight_.back().has_sampling = true;
  return absl::OkStatus();
}

absl::Status FakeStepExecutor::SubmitSampling(SamplingBlock sampling) {
  CHECK(!in_flight_.empty() && !in_flight_.back().has_sampling);
  {
    MutexLock lock(&mutex_);
    CHECK(!failed_) << "a part of a step after the executor failed";
    if (!sampling_status_.ok()) {
      failed_ = true;
      next_status_ = sampling_status_;
      return sampling_status_;
    }
    ++split_steps_;
  }
  CHECK_OK(checker_->CheckSampling(sampling));
  in_flight_.back().step.sampling = std::move(sampling);
  in_flight_.back().has_sampling = true;
  return absl::OkStatus();
}

absl::Status FakeStepExecutor::SubmitForward(StepBlock forward) {
  CHECK(static_cast<int>(in_flight_.size()) < max_in_flight_);
  {
    MutexLock lock(&mutex_);
    CHECK(!failed_) << "a step after the executor failed";
    if (!in_flight_.empty()) ++steps_planned_ahead_;
  }
  CHECK_OK(checker_->CheckForward(forward));
  TakeTableEntries(forward);
  PendingStep pending;
  const StepBlock::ConstArrays arrays = std::as_const(forward).arrays();
  for (size_t seq = 0; seq < arrays.slots.size(); ++seq) {
    const int num_blocks = (arrays.kv_lengths[seq] + kKvBlockTokens - 1) / kKvBlockTokens;
    const std::vector<int32_t>& table = tables_[arrays.slots[seq]];
    pending.owners.push_back(owners_[arrays.slots[seq]]);
    pending.blocks.emplace_back(table.begin(), table.begin() + num_blocks);
  }
  pending.step.forward = std::move(forward);
  CheckBlocks(pending);
  in_flight_.push_back(std::move(pending));
  return absl::OkStatus();
}

void FakeStepExecutor::TakeTableEntries(const StepBlock& forward) {
  for (const kernels::TableEntry& entry : forward.arrays().table_entries) {
    std::vector<int32_t>& table = tables_[entry.slot];
    if (entry.index == 0) owners_[entry.slot] = next_owner_++;
    table.resize(entry.index);
    table.push_back(entry.block);
  }
}

void FakeStepExecutor::CheckBlocks(const PendingStep& step) const {
  std::map<int32_t, std::set<Owner>> owners_of_block;
  const auto take = [&](const PendingStep& pending) {
    for (size_t seq = 0; seq < pending.owners.size(); ++seq) {
      for (const int32_t block : pending.blocks[seq]) {
        owners_of_block[block].insert(pending.owners[seq]);
      }
    }
  };
  for (const PendingStep& pending : in_flight_) take(pending);
  take(step);
  const StepBlock::ConstArrays arrays = step.step.forward.arrays();
  for (size_t token = 0; token < arrays.positions.size(); ++token) {
    const int32_t block =
        step.blocks[arrays.seq_of_token[token]][arrays.positions[token] / kKvBlockTokens];
    CHECK(owners_of_block[block].size() == 1)
        << "block " << block << " is written to and is in two sequences";
  }
}

void FakeStepExecutor::Recover() {
  CHECK(in_flight_.empty());
  checker_.emplace(limits_, vocab_size_, /*rope_lists=*/2);
  for (std::vector<int32_t>& table : tables_) table.clear();
  std::fill(last_tokens_.begin(), last_tokens_.end(), -1);
  std::fill(arena_.begin(), arena_.end(), -1);
  MutexLock lock(&mutex_);
  failed_ = false;
  next_status_ = absl::OkStatus();
  sampling_status_ = absl::OkStatus();
}

absl::StatusOr<StepResult> FakeStepExecutor::Await() {
  CHECK(!in_flight_.empty());
  const PendingStep pending = std::move(in_flight_.front());
  in_flight_.pop_front();
  {
    MutexLock lock(&mutex_);
    if (!pending.has_sampling) {
      ++dropped_steps_;
      failed_ = true;
      if (next_status_.ok()) next_status_ = absl::AbortedError("a step was dropped");
    }
    if (failed_) return next_status_;
    failed_ = !next_status_.ok();
    ++steps_;
  }
  if (hook_) hook_(pending.step);
  StepResult result = Compute(pending);
  if (result_hook_) result_hook_(result);
  MutexLock lock(&mutex_);
  if (failed_) return next_status_;
  return result;
}

StepResult FakeStepExecutor::Compute(const PendingStep& pending) {
  const StepBlock::ConstArrays arrays = pending.step.forward.arrays();
  const SamplingBlock::ConstArrays rows = pending.step.sampling.arrays();
  for (size_t token = 0; token < arrays.token_ids.size(); ++token) WriteKv(pending, token);
  StepResult result;
  for (size_t i = 0; i < rows.logit_rows.size(); ++i) {
    const int seq = arrays.seq_of_token[rows.logit_rows[i]];
    const int length = arrays.positions[rows.logit_rows[i]] + 1;
    CHECK(rows.sampling[i].position == length);
    const std::vector<int32_t> history = History(pending, seq, length);
    result.tokens.push_back(IsBroken(history) ? kernels::kNoToken
                                              : Allowed(NextToken(history), rows, i));
    last_tokens_[rows.logit_slots[i]] = result.tokens.back();
  }
  for (size_t i = 0; i < rows.score_rows.size(); ++i) {
    const int token = rows.score_rows[i];
    const std::vector<int32_t> history =
        History(pending, arrays.seq_of_token[token], arrays.positions[token] + 1);
    result.log_probs.push_back(IsBroken(history) ? std::numeric_limits<float>::quiet_NaN()
                                                 : LogProb(history, rows.score_targets[i]));
  }
  return result;
}

void FakeStepExecutor::WriteKv(const PendingStep& pending, int token) {
  const StepBlock::ConstArrays arrays = pending.step.forward.arrays();
  const int seq = arrays.seq_of_token[token];
  int32_t id = arrays.token_ids[token];
  if (id == kernels::kLastToken) id = last_tokens_[arrays.slots[seq]];
  Kv(pending, seq, arrays.positions[token]) = KvOf(id, arrays.rope_lists[seq]);
}

int32_t& FakeStepExecutor::Kv(const PendingStep& pending, int seq, int position) {
  const int block = pending.blocks[seq][position / kKvBlockTokens];
  return arena_[block * kKvBlockTokens + position % kKvBlockTokens];
}

std::vector<int32_t> FakeStepExecutor::History(const PendingStep& pending, int seq, int length) {
  std::vector<int32_t> history;
  history.reserve(length);
  const int rope_list = pending.step.forward.arrays().rope_lists[seq];
  for (int i = 0; i < length; ++i) {
    history.push_back(Kv(pending, seq, i));
    CHECK(history.back() >= 0 && history.back() % 2 == rope_list)
        << "position " << i << " holds " << history.back() << " where rotary list " << rope_list
        << " is used";
  }
  return history;
}

bool FakeStepExecutor::IsBroken(absl::Span<const int32_t> history) const {
  return broken_token_.has_value() &&
         std::any_of(history.begin(), history.end(),
                     [this](int32_t kv) { return kv / 2 == *broken_token_; });
}

int32_t FakeStepExecutor::NextToken(absl::Span<const int32_t> history) const {
  const uint64_t hash = Hash(history);
  if (period_ > 0 && history.size() > static_cast<size_t>(period_) && (hash >> 20) % 8 > 0) {
    return history[history.size() - period_] / 2;
  }
  return static_cast<int32_t>((hash >> 32) % vocab_size_);
}

int32_t FakeStepExecutor::Allowed(int32_t token, const SamplingBlock::ConstArrays& rows,
                                  size_t row) const {
  if (rows.sampling[row].forced != kernels::kNotForced) return rows.sampling[row].forced;
  const int32_t begin = rows.sampling[row].mask_begin;
  if (begin == kernels::kNoMask) return token;
  for (int i = 0; i < vocab_size_; ++i, token = (token + 1) % vocab_size_) {
    if ((rows.mask_words[begin + token / 32] >> (token % 32) & 1) != 0) return token;
  }
  return kernels::kNoToken;
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

void FakeStepExecutor::FailSamplingWith(const absl::Status& status) {
  MutexLock lock(&mutex_);
  sampling_status_ = status;
}

int FakeStepExecutor::split_steps() const {
  MutexLock lock(&mutex_);
  return split_steps_;
}

int FakeStepExecutor::dropped_steps() const {
  MutexLock lock(&mutex_);
  return dropped_steps_;
}

int FakeStepExecutor::steps() const {
  MutexLock lock(&mutex_);
  return steps_;
}

int FakeStepExecutor::steps_planned_ahead() const {
  MutexLock lock(&mutex_);
  return steps_planned_ahead_;
}

}  // namespace phalanx
