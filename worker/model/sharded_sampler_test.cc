// The ranks of a group as threads, each with its part of the logits, against Sample and
// TokenLogProbs on the whole rows.
#include "worker/model/sharded_sampler.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/sampling/log_prob.h"
#include "kernels/sampling/sample.h"
#include "kernels/sampling/sharded_sample.h"
#include "kernels/testing/aligned_vector.h"
#include "worker/comm/shm_communicator.h"

namespace phalanx {
namespace {

using kernels::SamplingRow;
using kernels::Tensor;

// Rows of logits, and how each is sampled and scored.
struct Batch {
  int64_t vocab = 0;
  std::vector<std::vector<float>> logits = {};
  std::vector<SamplingRow> sampling = {};
  std::vector<int32_t> targets = {};

  int rows() const { return static_cast<int>(logits.size()); }
};

// Rows of all kinds beside each other: greedy, drawn with and without cuts, with ties, with
// nothing but -infinity, with a NaN in the last column.
Batch MixedBatch(int rows, int64_t vocab, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, 3.0f);
  Batch batch{.vocab = vocab};
  for (int i = 0; i < rows; ++i) {
    std::vector<float> row(vocab);
    for (float& logit : row) logit = i % 5 == 3 ? std::trunc(normal(random)) : normal(random);
    if (i % 16 == 9) std::fill(row.begin(), row.end(), -std::numeric_limits<float>::infinity());
    if (i % 16 == 11) row.back() = std::numeric_limits<float>::quiet_NaN();
    batch.logits.push_back(row);
    batch.sampling.push_back({.temperature = static_cast<float>(i % 4) * 0.6f,
                              .top_k = i % 3 == 1 ? 20 : 0,
                              .top_p = i % 2 == 0 ? 1.0f : 0.9f,
                              .min_p = i % 7 == 2 ? 0.05f : 0.0f,
                              .typical_p = i % 5 == 1 ? 0.8f : 1.0f,
                              .forced = i == 6 ? 3 : kernels::kNotForced,
                              .position = i,
                              .seed = random()});
    batch.targets.push_back(static_cast<int32_t>(random() % vocab));
  }
  return batch;
}

// What all ranks know after a step.
struct Result {
  std::vector<int32_t> tokens = {};
  std::vector<float> log_probs = {};
  uint64_t bytes_to_draw = 0;  // Of one rank.
  uint64_t bytes_to_score = 0;
};

// One rank: its part of the logits, and a sampler with memory for the batch.
class Rank {
 public:
  Rank(const Batch& batch, int64_t begin, int64_t end, Communicator* comm)
      : batch_(batch),
        comm_(*comm),
        backend_(*kernels::MakeCpuBackend({.num_threads = 2})),
        stream_(backend_->NewStream()),
        collectives_(comm, stream_.get()),
        logits_(batch.rows() * (end - begin)),
        words_(batch.rows() * (12 + comm->world()) +
               batch.rows() * (comm->world() + 1) * kernels::kDigitValues),
        cuts_(kernels::kCutKinds * batch.rows()) {
    const int64_t rows = batch.rows();
    for (int64_t i = 0; i < rows; ++i) {
      std::copy(batch.logits[i].begin() + begin, batch.logits[i].begin() + end,
                logits_.begin() + i * (end - begin));
    }
    uint64_t* next = words_.data();
    const auto take = [&](int64_t count) { return std::exchange(next, next + count * rows); };
    const SamplerMemory memory = {
        .shard = {.rank = comm->rank(),
                  .world = comm->world(),
                  .first_id = begin,
                  .vocab = batch.vocab,
                  .maxima = take(1),
                  .cuts = cuts_.data(),
                  .typical_sums = take(kernels::kTypicalSums),
                  .sums = take(kernels::kDigitValues),
                  .sums_of_ranks = take(comm->world() * kernels::kDigitValues),
                  .kept = take(1),
                  .kept_of_ranks = take(comm->world()),
                  .drawn = take(1)},
        .log_prob_terms = take(kernels::kLogProbTerms)};
    sampler_ =
        std::make_unique<ShardedSampler>(memory, backend_.get(), stream_.get(), &collectives_);
    tensor_ = {logits_.data(), kernels::DType::kF32, rows, end - begin};
  }

  Result Run() {
    kernels::SamplingBatch step;
    step.num_logit_rows = batch_.rows();
    step.sampling = batch_.sampling.data();
    kernels::NoteWants(batch_.sampling, batch_.vocab, &step);
    Result result;
    result.tokens.resize(batch_.rows());
    EXPECT_TRUE(sampler_->Draw(step, tensor_, result.tokens.data()).ok());
    result.bytes_to_draw = comm_.bytes_sent();
    EXPECT_TRUE(stream_->Synchronize().ok());
    result.log_probs.resize(batch_.rows());
    EXPECT_TRUE(sampler_->Score(tensor_, batch_.targets.data(), result.log_probs.data()).ok());
    EXPECT_TRUE(stream_->Synchronize().ok());
    result.bytes_to_score = comm_.bytes_sent() - result.bytes_to_draw;
    return result;
  }

 private:
  const Batch& batch_;
  Communicator& comm_;
  const std::unique_ptr<kernels::Backend> backend_;
  const std::unique_ptr<kernels::Stream> stream_;
  Collectives collectives_;
  kernels::AlignedVector<float> logits_;
  std::vector<uint64_t> words_;
  std::vector<kernels::SampleCut> cuts_;
  std::unique_ptr<ShardedSampler> sampler_;
  Tensor tensor_;
};

// Runs all ranks, rank r with the columns [borders[r], borders[r + 1]); returns their results.
std::vector<Result> RunRanks(const Batch& batch, const std::vector<int64_t>& borders) {
  const int world = static_cast<int>(borders.size()) - 1;
  const std::vector<std::unique_ptr<Communicator>> group = MakeLocalGroup(world);
  std::vector<Result> results(world);
  std::vector<std::thread> threads;
  for (int r = 0; r < world; ++r) {
    threads.emplace_back(
        [&, r] { results[r] = Rank(batch, borders[r], borders[r + 1], group[r].get()).Run(); });
  }
  for (std::thread& thread : threads) thread.join();
  return results;
}

std::vector<int64_t> EvenBorders(int64_t vocab, int world) {
  std::vector<int64_t> borders;
  for (int r = 0; r <= world; ++r) borders.push_back(vocab * r / world);
  return borders;
}

// By their bits: NaN is a result too.
void ExpectSameBits(const std::vector<float>& values, const std::vector<float>& expected) {
  ASSERT_EQ(values.size(), expected.size());
  EXPECT_EQ(std::memcmp(values.data(), expected.data(), values.size() * sizeof(float)), 0)
      << testing::PrintToString(values) << " " << testing::PrintToString(expected);
}

void ExpectResultsOfWholeRows(const Batch& batch, const std::vector<int64_t>& borders) {
  std::vector<int32_t> tokens;
  std::vector<float> log_probs;
  for (int i = 0; i < batch.rows(); ++i) {
    tokens.push_back(kernels::SampleToken(batch.logits[i], batch.sampling[i]));
    log_probs.push_back(kernels::LogProb(batch.logits[i], batch.targets[i]));
  }
  for (const Result& result : RunRanks(batch, borders)) {
    EXPECT_EQ(result.tokens, tokens);
    ExpectSameBits(result.log_probs, log_probs);
  }
}

TEST(ShardedSamplerTest, EveryRankKnowsTheTokensAndScoresOfWholeRows) {
  for (int world = 1; world <= 4; ++world) {
    for (const int64_t vocab : {5, 272, 3001}) {
      SCOPED_TRACE(testing::Message() << world << " ranks, " << vocab << " tokens");
      const Batch batch = MixedBatch(64, vocab, static_cast<uint32_t>(vocab + world));
      ExpectResultsOfWholeRows(batch, EvenBorders(vocab, world));
    }
  }
}

TEST(ShardedSamplerTest, PartsMayBeUnevenAndEmpty) {
  const Batch batch = MixedBatch(40, 1000, 7);
  for (const std::vector<int64_t>& borders : std::vector<std::vector<int64_t>>{
           {0, 0, 1000}, {0, 1000, 1000}, {0, 1, 999, 1000}, {0, 700, 700, 701, 1000}}) {
    ExpectResultsOfWholeRows(batch, borders);
  }
}

TEST(ShardedSamplerTest, ABatchOfOneKindMakesOnlyTheCollectivesThatItNeeds) {
  constexpr uint64_t kDigits = kernels::kCutDigits * kernels::kDigitValues;
  struct Case {
    SamplingRow row;
    uint64_t words;
  };
  for (const Case& c :
       {Case{{}, 1}, Case{{.temperature = 0.0f, .top_k = 3, .top_p = 0.5f}, 1},
        Case{{.temperature = 1.0f}, 3}, Case{{.temperature = 1.0f, .top_k = 500}, 3},
        Case{{.temperature = 1.0f, .top_k = 5}, 3 + kDigits},
        Case{{.temperature = 1.0f, .top_p = 0.9f}, 3 + kDigits},
        Case{{.temperature = 1.0f, .top_k = 5, .top_p = 0.9f}, 3 + 2 * kDigits}}) {
    Batch batch = MixedBatch(5, 500, 8);
    std::fill(batch.sampling.begin(), batch.sampling.end(), c.row);
    ExpectResultsOfWholeRows(batch, {0, 250, 500});
    for (const Result& result : RunRanks(batch, {0, 250, 500})) {
      EXPECT_EQ(result.bytes_to_draw, 5 * sizeof(uint64_t) * c.words);
      EXPECT_EQ(result.bytes_to_score, 5 * sizeof(uint64_t) * (1 + kernels::kLogProbTerms));
    }
  }
}

// Of the vocabulary of Phi-4-mini, in bytes that a rank sends for a row.
TEST(ShardedSamplerTest, ARankSendsFarLessThanItsLogits) {
  constexpr int64_t kVocab = 200064;
  const uint64_t logits = kVocab / 2 * sizeof(float);
  Batch batch = MixedBatch(4, kVocab, 9);
  ExpectResultsOfWholeRows(batch, EvenBorders(kVocab, 2));
  for (const auto& [row, factor] :
       std::vector<std::pair<SamplingRow, uint64_t>>{{{}, 50000},
                                                     {{.temperature = 1.0f}, 16000},
                                                     {{.temperature = 1.0f, .top_p = 0.95f}, 48}}) {
    std::fill(batch.sampling.begin(), batch.sampling.end(), row);
    for (const Result& result : RunRanks(batch, EvenBorders(kVocab, 2))) {
      EXPECT_LT(result.bytes_to_draw * factor, logits * batch.rows());
    }
  }
}

TEST(ShardedSamplerTest, TheErrorOfACollectiveIsPassedOn) {
  const Batch batch = MixedBatch(2, 10, 1);
  const std::vector<std::unique_ptr<Communicator>> group = MakeLocalGroup(2);
  const std::unique_ptr<kernels::Backend> backend = *kernels::MakeCpuBackend({});
  const std::unique_ptr<kernels::Stream> stream = backend->NewStream();
  Collectives collectives(group[0].get(), stream.get());
  uint64_t words[8] = {};
  ShardedSampler sampler(
      {.shard = {.world = 2, .vocab = 10, .maxima = words}, .log_prob_terms = words}, backend.get(),
      stream.get(), &collectives);
  kernels::AlignedVector<float> logits(10);
  const Tensor tensor = {logits.data(), kernels::DType::kF32, 2, 5};
  kernels::SamplingBatch step;
  step.num_logit_rows = 2;
  step.sampling = batch.sampling.data();
  group[1]->Abort();
  float log_probs[2];
  int32_t tokens[2];
  EXPECT_TRUE(absl::IsAborted(sampler.Draw(step, tensor, tokens)));
  EXPECT_TRUE(absl::IsAborted(sampler.Score(tensor, batch.targets.data(), log_probs)));
}

}  // namespace
}  // namespace phalanx
