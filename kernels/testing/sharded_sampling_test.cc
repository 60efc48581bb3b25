// The ops that sample where the vocabulary is split over ranks: the ranks of a group in turn on one
// backend, with the words between them combined by the test. All results are whole numbers, so
// every backend must have the reference's.
#include <algorithm>
#include <bit>
#include <limits>
#include <memory>
#include <numeric>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/sampling/sample.h"
#include "kernels/testing/op_suite.h"
#include "kernels/testing/step_builder.h"

namespace phalanx::kernels {
namespace {

using Words = std::vector<uint64_t>;

// A batch of rows and how its columns are split.
struct SplitBatch {
  Matrix logits;
  std::vector<int64_t> borders;  // Rank r has the columns [borders[r], borders[r + 1]).
  StepBuilder step{1};
};

SplitBatch MakeBatch(int rows, int64_t vocab, std::vector<int64_t> borders, int seed) {
  SplitBatch batch{Matrix(rows, vocab, seed), std::move(borders)};
  batch.step.Add(0, rows, {0});
  for (int i = 0; i < rows; ++i) {
    batch.step.WantLogits(i, {.temperature = static_cast<float>(i % 4) * 0.5f,
                              .top_k = i % 3 * 10,
                              .top_p = i % 2 == 0 ? 1.0f : 0.8f,
                              .min_p = i % 7 == 3 ? 0.02f : 0.0f,
                              .typical_p = i % 4 < 2 ? 1.0f : 0.6f,
                              .forced = i == 6 ? 0 : kNotForced,
                              .position = i,
                              .seed = 17});
    float* const row = batch.logits.values().data() + i * vocab;
    // Few different values, so that ties of a cut lie on several ranks.
    if (i % 5 == 4) {
      for (int64_t j = 0; j < vocab; ++j) row[j] = row[j] > 0 ? 1.0f : 0.5f;
    }
    if (i == 7) row[vocab - 1] = std::numeric_limits<float>::quiet_NaN();
    if (i == 9) std::fill_n(row, vocab, -std::numeric_limits<float>::infinity());
  }
  return batch;
}

// Odd shapes, with uneven and empty parts; one with rows that are long enough to be shared out
// among threads.
std::vector<SplitBatch> AllBatches() {
  std::vector<SplitBatch> batches;
  batches.push_back(MakeBatch(1, 1, {0, 1}, 1));
  batches.push_back(MakeBatch(20, 1001, {0, 500, 1001}, 2));
  batches.push_back(MakeBatch(20, 333, {0, 1, 1, 200, 333}, 3));
  batches.push_back(MakeBatch(12, 7, {0, 0, 3, 7}, 4));
  batches.push_back(MakeBatch(4, 50000, {0, 30000, 50000}, 5));
  batches.push_back(MakeBatch(0, 10, {0, 5, 10}, 6));
  return batches;
}

// Runs the ops on one backend, rank after rank, and keeps what each of them wrote.
class Ranks {
 public:
  Ranks(Backend& backend, Stream& stream, const SplitBatch& split)
      : backend_(backend),
        stream_(stream),
        batch_(split.step.sampling()),
        rows_(batch_.num_logit_rows),
        world_(static_cast<int>(split.borders.size()) - 1),
        maxima_(rows_),
        sums_of_ranks_(world_ * rows_ * kDigitValues),
        kept_of_ranks_(world_ * rows_),
        typical_sums_(kTypicalSums * rows_),
        ranks_(world_) {
    for (int r = 0; r < world_; ++r) {
      Rank& rank = ranks_[r];
      const int64_t begin = split.borders[r];
      const int64_t cols = split.borders[r + 1] - begin;
      rank.logits = std::make_unique<Matrix>(rows_, cols);
      for (int64_t i = 0; i < rows_; ++i) {
        std::copy_n(split.logits.row(i) + begin, cols, rank.logits->values().data() + i * cols);
      }
      // What an op does not write must not matter.
      rank.sums.assign(rows_ * kDigitValues, 99);
      rank.kept.assign(rows_, 99);
      rank.drawn.assign(rows_, 99);
      rank.cuts.resize(kCutKinds * rows_);
      rank.shard = {.rank = r,
                    .world = world_,
                    .first_id = begin,
                    .vocab = split.logits.cols(),
                    .maxima = maxima_.data(),
                    .cuts = rank.cuts.data(),
                    .typical_sums = typical_sums_.data(),
                    .sums = rank.sums.data(),
                    .sums_of_ranks = sums_of_ranks_.data(),
                    .kept = rank.kept.data(),
                    .kept_of_ranks = kept_of_ranks_.data(),
                    .drawn = rank.drawn.data()};
    }
  }

  void FindMaxima() {
    Words highest(rows_);
    for (Rank& rank : ranks_) {
      std::fill(maxima_.begin(), maxima_.end(), 99);
      backend_.RowMaxima(stream_, rank.logits->tensor(), rank.shard.first_id, maxima_.data());
      Note(maxima_);
      for (int i = 0; i < rows_; ++i) highest[i] = std::max(highest[i], maxima_[i]);
    }
    maxima_ = highest;
    for (Rank& rank : ranks_) rank.shard.maxima = maxima_.data();
  }

  void FindTypicalSums() {
    Words of_all(typical_sums_.size());
    for (Rank& rank : ranks_) {
      std::fill(typical_sums_.begin(), typical_sums_.end(), 99);
      backend_.TypicalSums(stream_, batch_, rank.logits->tensor(), rank.shard);
      Note(typical_sums_);
      for (size_t i = 0; i < of_all.size(); ++i) of_all[i] += typical_sums_[i];
    }
    std::copy(of_all.begin(), of_all.end(), typical_sums_.begin());
  }

  void FindCut(CutKind kind) {
    if (kind == CutKind::kTypical) FindTypicalSums();
    for (int digit = 0; digit < kCutDigits; ++digit) {
      Words of_all(rows_ * kDigitValues);
      for (Rank& rank : ranks_) {
        backend_.CutSums(stream_, batch_, rank.logits->tensor(), rank.shard, kind, digit);
        Note(rank.sums);
        std::copy(rank.sums.begin(), rank.sums.end(),
                  sums_of_ranks_.begin() + rank.shard.rank * rows_ * kDigitValues);
        for (size_t i = 0; i < of_all.size(); ++i) of_all[i] += rank.sums[i];
      }
      for (Rank& rank : ranks_) {
        if (digit < kCutDigits - 1) std::copy(of_all.begin(), of_all.end(), rank.sums.begin());
        backend_.NarrowCut(stream_, batch_, rank.logits->tensor(), rank.shard, kind, digit);
        for (const SampleCut& cut : rank.cuts) {
          Note({cut.left, cut.key, static_cast<uint64_t>(cut.last_id)});
        }
      }
    }
  }

  Words DrawTokens() {
    FindMaxima();
    FindCut(CutKind::kTopK);
    FindCut(CutKind::kTopP);
    FindCut(CutKind::kTypical);
    for (Rank& rank : ranks_) {
      backend_.KeptWeights(stream_, batch_, rank.logits->tensor(), rank.shard);
      Note(rank.sums);
      Note(rank.kept);
      std::copy(rank.kept.begin(), rank.kept.end(),
                kept_of_ranks_.begin() + rank.shard.rank * rows_);
    }
    Words drawn(rows_);
    for (Rank& rank : ranks_) {
      backend_.DrawTokens(stream_, batch_, rank.logits->tensor(), rank.shard);
      Note(rank.drawn);
      for (int i = 0; i < rows_; ++i) drawn[i] = std::max(drawn[i], rank.drawn[i]);
    }
    return drawn;
  }

  std::vector<float> LogProbs(const std::vector<int32_t>& targets) {
    FindMaxima();
    Words terms(rows_ * kLogProbTerms);
    for (Rank& rank : ranks_) {
      Words mine(terms.size(), 99);
      backend_.LogProbTerms(stream_, rank.logits->tensor(), rank.shard.first_id, targets.data(),
                            maxima_.data(), mine.data());
      Note(mine);
      for (size_t i = 0; i < terms.size(); ++i) terms[i] += mine[i];
    }
    std::vector<float> log_probs(rows_);
    backend_.CombineLogProbs(stream_, rows_, maxima_.data(), terms.data(), log_probs.data());
    return log_probs;
  }

  // The likeliest tokens of each row, of all ranks.
  std::vector<Words> TopLogits(int count) {
    std::vector<Words> of_rows(rows_);
    for (Rank& rank : ranks_) {
      Words words(rows_ * count, 99);
      backend_.TopLogits(stream_, rank.logits->tensor(), rank.shard.first_id, count, words.data());
      Note(words);
      for (int i = 0; i < rows_; ++i) {
        of_rows[i].insert(of_rows[i].end(), words.begin() + i * count,
                          words.begin() + (i + 1) * count);
      }
    }
    for (Words& words : of_rows) std::sort(words.rbegin(), words.rend());
    return of_rows;
  }

  // All words that ops have written, in order.
  const Words& notes() const { return notes_; }

 private:
  struct Rank {
    std::unique_ptr<Matrix> logits;
    Words sums;
    Words kept;
    Words drawn;
    std::vector<SampleCut> cuts;
    SampleShard shard;
  };

  void Note(const Words& words) { notes_.insert(notes_.end(), words.begin(), words.end()); }

  Backend& backend_;
  Stream& stream_;
  const SamplingBatch batch_;
  const int rows_;
  const int world_;
  Words maxima_;
  Words sums_of_ranks_;
  Words kept_of_ranks_;
  Words typical_sums_;
  std::vector<Rank> ranks_;
  Words notes_;
};

class ShardedSamplingOpTest : public OpTest {
 protected:
  explicit ShardedSamplingOpTest(Op op) : OpTest(op) {}

  // Calls run(ranks) on the backend under test and on the reference: all ops must write the same.
  template <typename Run>
  void ExpectTheWordsOfTheReference(Run run) {
    for (const SplitBatch& batch : AllBatches()) {
      Ranks ranks(*backend_, *stream_, batch);
      Ranks expected(*reference_, *stream_, batch);
      run(ranks);
      run(expected);
      EXPECT_TRUE(ranks.notes() == expected.notes())
          << batch.logits.rows() << " rows of " << batch.logits.cols();
    }
  }
};

PHALANX_OP_SUITE(RowMaxima, ShardedSamplingOpTest);
PHALANX_OP_SUITE(CutSums, ShardedSamplingOpTest);
PHALANX_OP_SUITE(NarrowCut, ShardedSamplingOpTest);
PHALANX_OP_SUITE(TypicalSums, ShardedSamplingOpTest);
PHALANX_OP_SUITE(TopLogits, ShardedSamplingOpTest);
PHALANX_OP_SUITE(KeptWeights, ShardedSamplingOpTest);
PHALANX_OP_SUITE(DrawTokens, ShardedSamplingOpTest);
PHALANX_OP_SUITE(TakeTokens, OpTest);
PHALANX_OP_SUITE(LogProbTerms, ShardedSamplingOpTest);
PHALANX_OP_SUITE(CombineLogProbs, ShardedSamplingOpTest);

TEST_P(RowMaximaTest, EqualsTheReference) {
  ExpectTheWordsOfTheReference([](Ranks& ranks) { ranks.FindMaxima(); });
}

TEST_P(RowMaximaTest, NamesTheLowestIdOfTheHighestLogitAndRowsThatAreNoNumbers) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  Matrix logits(3, 4);
  const float rows[] = {1, 5, 5, -2, 1, kInfinity, 2, 3, -kInfinity, -1, -1, -7};
  std::copy(std::begin(rows), std::end(rows), logits.values().begin());
  Words maxima(3);
  backend_->RowMaxima(*stream_, logits.tensor(), 100, maxima.data());
  EXPECT_EQ(~static_cast<uint32_t>(maxima[0]), 101u);
  EXPECT_EQ(maxima[1], ~uint64_t{0});
  EXPECT_EQ(~static_cast<uint32_t>(maxima[2]), 101u);
  EXPECT_GT(maxima[0], maxima[2]);
}

TEST_P(CutSumsTest, EqualsTheReference) {
  for (const CutKind kind : {CutKind::kTopK, CutKind::kTopP, CutKind::kTypical}) {
    ExpectTheWordsOfTheReference([&](Ranks& ranks) {
      ranks.FindMaxima();
      ranks.FindCut(kind);
    });
  }
}

TEST_P(NarrowCutTest, EqualsTheReference) {
  ExpectTheWordsOfTheReference([](Ranks& ranks) {
    ranks.FindMaxima();
    ranks.FindCut(CutKind::kTopK);
    ranks.FindCut(CutKind::kTopP);
    ranks.FindCut(CutKind::kTypical);
  });
}

TEST_P(TypicalSumsTest, EqualsTheReference) {
  ExpectTheWordsOfTheReference([](Ranks& ranks) {
    ranks.FindMaxima();
    ranks.FindCut(CutKind::kTopK);
    ranks.FindCut(CutKind::kTopP);
    ranks.FindTypicalSums();
  });
}

TEST_P(TopLogitsTest, EqualsTheReference) {
  for (const int count : {0, 1, 5, kMaxTopLogProbs}) {
    ExpectTheWordsOfTheReference([&](Ranks& ranks) { ranks.TopLogits(count); });
  }
}

// The first words of a row are those of a sort of all its logits.
TEST_P(TopLogitsTest, NamesTheLikeliestTokensInOrder) {
  for (const SplitBatch& batch : AllBatches()) {
    const std::vector<Words> of_rows = Ranks(*backend_, *stream_, batch).TopLogits(5);
    for (int64_t i = 0; i < batch.logits.rows(); ++i) {
      const float* const row = batch.logits.row(i);
      std::vector<int32_t> ids(batch.logits.cols());
      std::iota(ids.begin(), ids.end(), 0);
      std::stable_sort(ids.begin(), ids.end(),
                       [&](int32_t a, int32_t b) { return row[a] > row[b]; });
      for (size_t j = 0; j < std::min<size_t>(5, ids.size()) && i != 7 && i != 9; ++j) {
        EXPECT_EQ(~static_cast<uint32_t>(of_rows[i][j]), static_cast<uint32_t>(ids[j]))
            << "row " << i << " of " << batch.logits.cols() << ", rank " << j;
      }
    }
  }
}

TEST_P(KeptWeightsTest, EqualsTheReference) {
  ExpectTheWordsOfTheReference([](Ranks& ranks) { ranks.DrawTokens(); });
}

TEST_P(DrawTokensTest, DrawsTheTokensOfSample) {
  int drawn = 0;
  for (const SplitBatch& batch : AllBatches()) {
    const Words words = Ranks(*backend_, *stream_, batch).DrawTokens();
    Matrix logits = batch.logits.Rows(0, batch.logits.rows());
    std::vector<int32_t> expected(words.size());
    reference_->Sample(*stream_, batch.step.sampling(), logits.tensor(), expected.data());
    for (size_t i = 0; i < words.size(); ++i) {
      EXPECT_EQ(static_cast<int64_t>(words[i]) - 1, expected[i])
          << "row " << i << " of " << batch.logits.cols() << " logits";
      drawn += expected[i] != kNoToken;
    }
  }
  EXPECT_GT(drawn, 40);
}

TEST_P(TakeTokensTest, ZeroIsNoTokenAndTheOthersAreOneLess) {
  const std::vector<uint64_t> drawn = {1, 0, 200064};
  std::vector<int32_t> tokens(3);
  backend_->TakeTokens(*stream_, 3, drawn.data(), tokens.data());
  EXPECT_EQ(tokens, (std::vector<int32_t>{0, kNoToken, 200063}));
}

TEST_P(DrawTokensTest, EqualsTheReference) {
  ExpectTheWordsOfTheReference([](Ranks& ranks) { ranks.DrawTokens(); });
}

std::vector<int32_t> Targets(const SplitBatch& batch) {
  std::vector<int32_t> targets(batch.logits.rows());
  for (size_t i = 0; i < targets.size(); ++i) {
    targets[i] = static_cast<int32_t>(i * 7919 % batch.logits.cols());
  }
  return targets;
}

TEST_P(LogProbTermsTest, EqualsTheReference) {
  for (const SplitBatch& batch : AllBatches()) {
    Ranks ranks(*backend_, *stream_, batch);
    Ranks expected(*reference_, *stream_, batch);
    ranks.LogProbs(Targets(batch));
    expected.LogProbs(Targets(batch));
    EXPECT_TRUE(ranks.notes() == expected.notes()) << batch.logits.cols();
  }
}

// The last step, a logarithm, is the same function on all backends that compute on the host.
TEST_P(CombineLogProbsTest, GivesTheBitsOfTokenLogProbsOnTheWholeRow) {
  for (const SplitBatch& batch : AllBatches()) {
    const std::vector<float> split = Ranks(*backend_, *stream_, batch).LogProbs(Targets(batch));
    Matrix logits = batch.logits.Rows(0, batch.logits.rows());
    std::vector<float> whole(split.size());
    const std::vector<int32_t> targets = Targets(batch);
    backend_->TokenLogProbs(*stream_, logits.tensor(), targets.data(), whole.data());
    for (size_t i = 0; i < whole.size(); ++i) {
      EXPECT_EQ(std::bit_cast<uint32_t>(split[i]), std::bit_cast<uint32_t>(whole[i]))
          << "row " << i << " of " << batch.logits.cols() << " logits";
    }
  }
}

}  // namespace
}  // namespace phalanx::kernels
