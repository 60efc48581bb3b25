// The sharded form against SampleToken: the same token for every row and every split.
#include "kernels/sampling/sharded_sample.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "absl/strings/str_join.h"
#include "absl/types/span.h"
#include "gtest/gtest.h"
#include "kernels/sampling/sample.h"

namespace phalanx::kernels {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// Rank r has the logits [borders[r], borders[r + 1]).
using Borders = std::vector<int64_t>;

// The ranks of a group that draw the token of one row, each in turn.
class SplitRow {
 public:
  SplitRow(const std::vector<float>& logits, const SamplingRow& sampling, const Borders& borders)
      : world_(static_cast<int>(borders.size()) - 1),
        sampling_(sampling),
        sums_of_ranks_(world_ * kDigitValues),
        kept_of_ranks_(world_),
        ranks_(world_) {
    batch_.num_logit_rows = 1;
    batch_.sampling = &sampling_;
    for (int r = 0; r < world_; ++r) {
      Rank& rank = ranks_[r];
      // Nothing here writes to the logits.
      rank.logits = {const_cast<float*>(logits.data()) + borders[r], DType::kF32, 1,
                     borders[r + 1] - borders[r]};
      rank.shard = {.rank = r,
                    .world = world_,
                    .first_id = borders[r],
                    .vocab = static_cast<int64_t>(logits.size()),
                    .maxima = &maximum_,
                    .cuts = rank.cuts,
                    .typical_sums = typical_sums_,
                    .sums = rank.sums,
                    .sums_of_ranks = sums_of_ranks_.data(),
                    .kept_of_ranks = kept_of_ranks_.data(),
                    .drawn = &rank.drawn};
      const absl::Span<const float> part(rank.logits.f32(), rank.logits.cols);
      maximum_ = std::max(maximum_, MaximumOf(part, borders[r]));
    }
  }

  int32_t Draw() {
    FindCut(CutKind::kTopK);
    FindCut(CutKind::kTopP);
    FindCut(CutKind::kTypical);
    for (int r = 0; r < world_; ++r) {
      for (int run = 0; run < kDigitValues; ++run) {
        ranks_[r].sums[run] = KeptWeightOfRun(Row(r), run);
        kept_of_ranks_[r] += ranks_[r].sums[run];
      }
    }
    uint64_t drawn = 0;
    int owners = 0;
    for (Rank& rank : ranks_) {
      DrawRow(batch_, rank.logits, rank.shard, 0);
      owners += rank.drawn != 0;
      drawn = std::max(drawn, rank.drawn);
    }
    const int draws = IsDrawn(Row(0)) ? 1 : world_;
    EXPECT_EQ(owners, HasToken(maximum_) ? draws : 0);
    return static_cast<int32_t>(drawn) - 1;
  }

 private:
  struct Rank {
    Tensor logits;
    SampleShard shard;
    SampleCut cuts[kCutKinds];
    uint64_t sums[kDigitValues];
    uint64_t drawn;
  };

  RowShard Row(int rank) { return RowOf(batch_, ranks_[rank].logits, ranks_[rank].shard, 0); }

  void FindCut(CutKind kind) {
    if (!HasCut(Row(0), kind)) return;
    if (kind == CutKind::kTypical) {
      for (int r = 0; r < world_; ++r)
        AddTypicalSums(Row(r), 0, ranks_[r].logits.cols, typical_sums_);
    }
    for (int digit = 0; digit < kCutDigits; ++digit) {
      std::vector<uint64_t> of_all(kDigitValues);
      for (int r = 0; r < world_; ++r) {
        uint64_t* const sums = &sums_of_ranks_[r * kDigitValues];
        std::fill_n(sums, kDigitValues, 0);
        AddCutSums(Row(r), 0, ranks_[r].logits.cols, kind, digit, sums);
        for (int value = 0; value < kDigitValues; ++value) of_all[value] += sums[value];
      }
      for (Rank& rank : ranks_) {
        std::copy(of_all.begin(), of_all.end(), rank.sums);
        NarrowRow(batch_, rank.logits, rank.shard, 0, kind, digit);
      }
    }
  }

  const int world_;
  const SamplingRow sampling_;
  SamplingBatch batch_;
  uint64_t maximum_ = 0;
  uint64_t typical_sums_[kTypicalSums] = {};
  std::vector<uint64_t> sums_of_ranks_;
  std::vector<uint64_t> kept_of_ranks_;
  std::vector<Rank> ranks_;
};

// Borders for `world` ranks anywhere in the row, so that parts are uneven and may be empty.
Borders RandomBorders(int64_t size, int world, std::mt19937& random) {
  Borders borders = {0};
  for (int r = 1; r < world; ++r) borders.push_back(random() % (size + 1));
  borders.push_back(size);
  std::sort(borders.begin(), borders.end());
  return borders;
}

// A row of a kind that has its own difficulty.
std::vector<float> RandomRow(int64_t size, std::mt19937& random) {
  std::normal_distribution<float> normal(0.0f, 3.0f);
  std::vector<float> logits(size);
  for (float& logit : logits) logit = normal(random);
  const auto any = [&] { return random() % size; };
  switch (random() % 8) {
    case 0:  // Few different values: ties everywhere, 0 and -0 among them.
      for (float& logit : logits) logit = std::trunc(logit / 2);
      break;
    case 1:
      std::fill(logits.begin(), logits.end(), normal(random));
      break;
    case 2:  // Tokens that are never drawn.
      for (float& logit : logits) logit = random() % 3 == 0 ? logit : -kInfinity;
      break;
    case 3:  // One token far above the others.
      logits[any()] += 40.0f;
      break;
    case 4:  // Broken on one rank only; rarely, so that other rows of this kind have two bests.
      logits[any()] = random() % 2 == 0 ? kNan : kInfinity;
      break;
    case 5:
      logits[any()] = logits[any()] = 9.5f;
      break;
    default:
      break;
  }
  return logits;
}

SamplingRow RandomSampling(int64_t size, std::mt19937& random) {
  constexpr float kTemperatures[] = {0.0f, 0.3f, 0.7f, 1.0f, 2.0f, 30.0f};
  constexpr float kTopPs[] = {1.0f, 1.0f, 0.95f, 0.5f, 0.999f, 1e-6f};
  const int32_t top_ks[] = {0, 0, 1, 2, 50, static_cast<int32_t>(random() % (size + 2))};
  constexpr float kMinPs[] = {0.0f, 0.0f, 0.0f, 0.1f, 0.7f, 1e-6f, 1.0f};
  constexpr float kTypicalPs[] = {1.0f, 1.0f, 1.0f, 0.9f, 0.2f, 1e-6f};
  return {.temperature = kTemperatures[random() % 6],
          .top_k = top_ks[random() % 6],
          .top_p = kTopPs[random() % 6],
          .min_p = kMinPs[random() % 7],
          .typical_p = kTypicalPs[random() % 6],
          .forced = random() % 50 == 0 ? static_cast<int32_t>(random() % size) : kNotForced,
          .position = static_cast<int32_t>(random() % 100000),
          .seed = random()};
}

TEST(ShardedSampleTest, DrawsTheTokensOfSampleTokenWhateverTheSplit) {
  std::mt19937 random(2025);
  int without_token = 0;
  for (int i = 0; i < 12000; ++i) {
    // Mostly short rows, whose borders cut through ties more often.
    const int64_t size = 1 + random() % (i % 8 == 0 ? 5000 : 300);
    const std::vector<float> logits = RandomRow(size, random);
    const SamplingRow sampling = RandomSampling(size, random);
    const int32_t expected = SampleToken(logits, sampling);
    without_token += expected == kNoToken;
    for (int world = 1; world <= 4; ++world) {
      const Borders borders = RandomBorders(size, world, random);
      ASSERT_EQ(SplitRow(logits, sampling, borders).Draw(), expected)
          << "row " << i << ", borders " << absl::StrJoin(borders, " ") << ", temperature "
          << sampling.temperature << ", top_k " << sampling.top_k << ", top_p " << sampling.top_p
          << ", min_p " << sampling.min_p << ", typical_p " << sampling.typical_p;
    }
  }
  EXPECT_GT(without_token, 500);
  EXPECT_LT(without_token, 3000);
}

// Ties of the cut lie on both sides of a border: the ranks must agree how many of them each keeps.
TEST(ShardedSampleTest, TiesAcrossABorderAreKeptByLowestId) {
  const std::vector<float> logits = {1, 2, 2, 2, 3, 2, 2, 2};
  for (const SamplingRow& row : {SamplingRow{.temperature = 1.0f, .top_k = 4},
                                 SamplingRow{.temperature = 1.0f, .top_p = 0.6f},
                                 SamplingRow{.temperature = 1.0f, .top_k = 6, .top_p = 0.7f},
                                 SamplingRow{.temperature = 1.0f, .typical_p = 0.4f}}) {
    std::vector<bool> drawn(logits.size());
    for (int position = 0; position < 300; ++position) {
      SamplingRow at = row;
      at.position = position;
      const int32_t expected = SampleToken(logits, at);
      drawn[expected] = true;
      for (int64_t border = 0; border <= 8; ++border) {
        for (int64_t next = border; next <= 8; ++next) {
          ASSERT_EQ(SplitRow(logits, at, {0, border, next, 8}).Draw(), expected)
              << border << " " << next;
        }
      }
    }
    // Tokens 1 to 3 come first among the ties; 7 is dropped by each of these cuts.
    EXPECT_TRUE(drawn[1]);
    // The likeliest token is the least typical here.
    EXPECT_EQ(drawn[4], row.typical_p == 1.0f);
    EXPECT_FALSE(drawn[7]);
  }
}

TEST(ShardedSampleTest, TheHighestWordNamesTheFirstTokenInRank) {
  const std::vector<float> logits = {1.0f, 7.0f};
  const uint64_t first = MaximumOf(logits, 10);
  EXPECT_TRUE(HasToken(first));
  EXPECT_EQ(HighestLogit(first), 7.0f);
  EXPECT_GT(first, MaximumOf(logits, 20)) << "the lower id must win";
  EXPECT_GT(first, MaximumOf({6.5f, 6.0f}, 0));
  EXPECT_GT(MaximumOf({-3.0e38f}, 5), MaximumOf({-kInfinity, -kInfinity}, 0));
  EXPECT_EQ(MaximumOf({}, 3), MaximumOf({-kInfinity}, 0));
  for (const std::vector<float>& broken :
       std::vector<std::vector<float>>{{kNan}, {1.0f, kNan, 2.0f}, {kInfinity, 1.0f}}) {
    EXPECT_EQ(MaximumOf(broken, 0), ~uint64_t{0});
    EXPECT_FALSE(HasToken(MaximumOf(broken, 0)));
  }
  EXPECT_EQ(MaximumOf({-0.0f}, 0), MaximumOf({0.0f}, 0));
}

}  // namespace
}  // namespace phalanx::kernels
