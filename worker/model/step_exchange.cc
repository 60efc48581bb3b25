#include "worker/model/step_exchange.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <functional>
#include <optional>
#include <utility>

#include "absl/strings/string_view.h"
#include "base/log.h"
#include "base/status.h"
#include "kernels/sampling/log_prob.h"
#include "kernels/sampling/sharded_sample.h"
#include "kernels/sampling/top_logits.h"
#include "worker/step/check_step.h"

namespace phalanx {
namespace {

size_t AlignedBytes(size_t bytes) {
  return (bytes + kernels::kTensorAlignment - 1) / kernels::kTensorAlignment *
         kernels::kTensorAlignment;
}

// Of a step that is done.
absl::StatusOr<std::optional<absl::Duration>> TimeOf(const StepExchange::CommCost& comm) {
  if (comm.timers.empty()) return comm.known;
  absl::Duration total;
  for (kernels::SpanTimer* const timer : comm.timers) {
    ASSIGN_OR_RETURN(const absl::Duration part, timer->Total());
    total += part;
  }
  return total;
}

}  // namespace

absl::StatusOr<std::unique_ptr<StepExchange>> StepExchange::Create(const StepLimits& limits,
                                                                   int64_t vocab,
                                                                   const Activations* activations,
                                                                   kernels::Backend* backend,
                                                                   kernels::Stream* stream) {
  auto exchange =
      std::unique_ptr<StepExchange>(new StepExchange(limits, vocab, activations, backend, stream));
  RETURN_IF_ERROR(exchange->AllocateSlots());
  return exchange;
}

absl::Status StepExchange::AllocateSlots() {
  const size_t forward = StepBlock::Bytes(LargestStep(limits_));
  const size_t sampling = SamplingBlock::Bytes(LargestSampling(limits_, vocab_));
  const size_t tokens = static_cast<size_t>(limits_.max_seqs) * sizeof(int32_t);
  const size_t log_probs = static_cast<size_t>(limits_.max_step_tokens) * sizeof(float);
  const int64_t words_of_row = 1 + kernels::kLogProbTerms +
                               int64_t{activations_.sampler.shard.world} * kernels::kMaxTopLogProbs;
  const size_t words = static_cast<size_t>(limits_.max_seqs * words_of_row) * sizeof(uint64_t);
  const size_t before_words = AlignedBytes(forward + sampling + tokens + log_probs);
  const size_t bytes = AlignedBytes(before_words + words);
  ASSIGN_OR_RETURN(memory_, backend_.AllocateOnHost(bytes * slots_.size()));
  auto* next = static_cast<std::byte*>(memory_->data());
  for (Slot& slot : slots_) {
    slot.forward_block = next;
    slot.sampling_block = slot.forward_block + forward;
    slot.tokens = reinterpret_cast<int32_t*>(slot.sampling_block + sampling);
    slot.log_probs = reinterpret_cast<float*>(slot.sampling_block + sampling + tokens);
    slot.log_prob_words = reinterpret_cast<uint64_t*>(next + before_words);
    next += bytes;
  }
  return absl::OkStatus();
}

kernels::StepBatch StepExchange::BatchOf(const kernels::StepCounts& counts) const {
  return {counts, StepBlock::PointersInto(counts, activations_.forward_block),
          limits_.max_blocks_per_seq, activations_.block_tables, activations_.last_tokens};
}

void StepExchange::Begin() {
  CHECK(in_flight_.size() < kMaxInFlight);
  current_ = {.slot = (current_.slot + 1) % kMaxInFlight};
}

kernels::StepBatch StepExchange::Upload(const StepBlock& block) {
  const absl::string_view bytes = block.bytes();
  std::memcpy(slot().forward_block, bytes.data(), bytes.size());
  backend_.CopyToBackend(stream_, activations_.forward_block, slot().forward_block, bytes.size());
  return BatchOf(block.counts());
}

kernels::SamplingBatch StepExchange::Upload(const SamplingBlock& block) {
  const absl::string_view bytes = block.bytes();
  std::memcpy(slot().sampling_block, bytes.data(), bytes.size());
  backend_.CopyToBackend(stream_, activations_.sampling_block, slot().sampling_block, bytes.size());
  kernels::SamplingBatch batch = {
      block.counts(), SamplingBlock::PointersInto(block.counts(), activations_.sampling_block)};
  kernels::NoteWants(block.arrays().sampling, vocab_, &batch);
  if (batch.log_probs != kernels::kNoLogProbs) {
    for (const kernels::SamplingRow& row : block.arrays().sampling) {
      current_.wanted.push_back(row.log_probs);
    }
  }
  return batch;
}

void StepExchange::DownloadTokens(int rows) {
  current_.tokens = rows;
  backend_.CopyToHost(stream_, slot().tokens, activations_.tokens,
                      static_cast<size_t>(rows) * sizeof(int32_t));
}

void StepExchange::DownloadLogProbs(int rows) {
  current_.log_probs = rows;
  backend_.CopyToHost(stream_, slot().log_probs, activations_.log_probs,
                      static_cast<size_t>(rows) * sizeof(float));
}

void StepExchange::DownloadDrawnLogProbs(int rows, int top) {
  current_.described = rows;
  current_.top = top;
  const SamplerMemory& words = activations_.sampler;
  uint64_t* to = slot().log_prob_words;
  const auto copy = [&](const uint64_t* from, int64_t count) {
    backend_.CopyToHost(stream_, to, from, static_cast<size_t>(count) * sizeof(uint64_t));
    to += count;
  };
  copy(words.shard.maxima, rows);
  copy(words.log_prob_terms, int64_t{rows} * kernels::kLogProbTerms);
  if (top > 0) copy(words.top_words_of_ranks, int64_t{words.shard.world} * rows * top);
}

std::vector<DrawnLogProbs> StepExchange::DrawnLogProbsOf(const InFlight& step) const {
  const int64_t rows = step.described;
  const uint64_t* const maxima = slots_[step.slot].log_prob_words;
  const uint64_t* const terms = maxima + rows;
  const uint64_t* const top_words = terms + rows * kernels::kLogProbTerms;
  std::vector<DrawnLogProbs> result(rows);
  std::vector<uint64_t> words;
  for (int64_t i = 0; i < rows; ++i) {
    std::array<uint64_t, kernels::kLogProbTerms> of_row;
    std::copy_n(terms + i * kernels::kLogProbTerms, of_row.size(), of_row.begin());
    result[i].log_prob = kernels::CombinedLogProb(maxima[i], of_row.data());
    words.clear();
    for (int64_t rank = 0; rank < activations_.sampler.shard.world; ++rank) {
      const uint64_t* const of_rank = top_words + (rank * rows + i) * step.top;
      words.insert(words.end(), of_rank, of_rank + step.top);
    }
    std::sort(words.begin(), words.end(), std::greater<>());
    for (int t = 0; t < step.wanted[i] && words[t] != 0; ++t) {
      of_row.back() = std::bit_cast<uint32_t>(kernels::LogitOfWord(words[t]));
      result[i].top.push_back(
          {kernels::TokenOfWord(words[t]), kernels::CombinedLogProb(maxima[i], of_row.data())});
    }
  }
  return result;
}

void StepExchange::End(CommCost comm) {
  current_.comm = std::move(comm);
  stream_.Mark(current_.slot);
  in_flight_.push_back(current_);
}

absl::StatusOr<StepResult> StepExchange::Await(absl::Duration timeout) {
  CHECK(!in_flight_.empty());
  const InFlight step = in_flight_.front();
  in_flight_.pop_front();
  RETURN_IF_ERROR(stream_.AwaitMark(step.slot, timeout));
  const Slot& slot = slots_[step.slot];
  StepResult result;
  result.tokens.assign(slot.tokens, slot.tokens + step.tokens);
  result.log_probs.assign(slot.log_probs, slot.log_probs + step.log_probs);
  result.drawn_log_probs = DrawnLogProbsOf(step);
  ASSIGN_OR_RETURN(result.comm_time, TimeOf(step.comm));
  result.comm_bytes = step.comm.bytes;
  if (step.log_probs == 0) {
    result.local_logits = activations_.local_logits;
    result.local_logits.rows = step.tokens;
  }
  return result;
}

}  // namespace phalanx
