// Sums of floats over ranks.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <vector>

#include "gtest/gtest.h"
#include "worker/comm/communicator_segment.h"
#include "worker/comm/testing/communicator_suite.h"

namespace phalanx {
namespace {

using kernels::DType;
using kernels::Tensor;

constexpr int64_t kExchangeFloats = kExchangeBytes / sizeof(float);

using CommunicatorSumsTest = CommunicatorTest;
PHALANX_COMMUNICATOR_SUITE(CommunicatorSumsTest);

Tensor RowOf(float* data, int64_t count) { return {data, DType::kF32, 1, count}; }

TEST_P(CommunicatorSumsTest, AreInRankOrderToTheBit) {
  // Around the lengths at which transports change their way: 16 KiB and 512 KiB by network, 256
  // KiB through memory.
  for (const int64_t count :
       {int64_t{0}, int64_t{1}, int64_t{7}, int64_t{576}, int64_t{4096}, int64_t{4097},
        kExchangeFloats, kExchangeFloats + 1, 3 * kExchangeFloats + 5, 9 * kExchangeFloats + 1}) {
    std::vector<float> expected = Contribution(0, count);
    for (int rank = 1; rank < world(); ++rank) {
      const std::vector<float> next = Contribution(rank, count);
      for (int64_t i = 0; i < count; ++i) expected[i] += next[i];
    }
    OnEveryRank([&](RankUnderTest& rank) {
      float* const data = rank.Upload(Contribution(rank.number(), count));
      ASSERT_TRUE(rank.comm().AllReduceSum(rank.stream(), RowOf(data, count)).ok());
      EXPECT_TRUE(rank.Download(data, count) == expected) << count;
    });
  }
}

TEST_P(CommunicatorSumsTest, KeepManyRoundsApart) {
  constexpr int kRounds = 1000;
  constexpr int64_t kCols = 16;
  OnEveryRank([&](RankUnderTest& rank) {
    std::vector<float> values(kRounds * kCols);
    for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i + rank.number());
    float* const data = rank.Upload(values);
    for (int round = 0; round < kRounds; ++round) {
      ASSERT_TRUE(rank.comm().AllReduceSum(rank.stream(), RowOf(data + round * kCols, kCols)).ok());
    }
    const int ranks_sum = world() * (world() - 1) / 2;
    for (size_t i = 0; i < values.size(); ++i) {
      values[i] = static_cast<float>(static_cast<int>(i) * world() + ranks_sum);
    }
    EXPECT_EQ(rank.Download(data, values.size()), values);
  });
}

uint16_t UpperHalf(float value) {
  return static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16);
}

// The values are small whole numbers and halves of the last place of a bfloat16, so that sums have
// to be rounded, sometimes from exactly the middle.
TEST_P(CommunicatorSumsTest, OfBFloat16AreInFloat32AndRoundedOnce) {
  constexpr int64_t kExchangeHalves = kExchangeBytes / sizeof(uint16_t);
  const auto value_of = [](int rank, int64_t i) {
    return rank == 0 ? 256.0f + static_cast<float>(i % 7) * 2 : static_cast<float>((i + rank) % 4);
  };
  OnEveryRank([&](RankUnderTest& rank) {
    for (const int64_t count : {int64_t{7}, kExchangeHalves + 7, 3 * kExchangeHalves + 1}) {
      std::vector<uint16_t> values(count);
      for (int64_t i = 0; i < count; ++i) values[i] = UpperHalf(value_of(rank.number(), i));
      uint16_t* const data = rank.Upload(values);
      ASSERT_TRUE(rank.comm().AllReduceSum(rank.stream(), {data, DType::kBF16, 1, count}).ok());
      const std::vector<uint16_t> sums = rank.Download(data, count);
      for (int64_t i = 0; i < count; ++i) {
        float sum = 0;
        for (int r = 0; r < world(); ++r) sum += value_of(r, i);
        // bfloat16 from 256 to 512 are the even numbers; nearbyint rounds halves to even.
        const float expected = sum < 512 ? 2 * std::nearbyint(sum / 2) : sum;
        ASSERT_EQ(sums[i], UpperHalf(expected)) << "sum of " << sum;
      }
    }
  });
}

TEST_P(CommunicatorSumsTest, OfBFloat16KeepInfinitiesAndNan) {
  OnEveryRank([&](RankUnderTest& rank) {
    // Infinity, a NaN of the lowest payload, and the highest finite number.
    uint16_t* const data = rank.Upload<uint16_t>({0x7f80, 0x7f81, 0x7f7f});
    ASSERT_TRUE(rank.comm().AllReduceSum(rank.stream(), {data, DType::kBF16, 1, 3}).ok());
    const std::vector<uint16_t> sums = rank.Download(data, 3);
    EXPECT_EQ(sums[0], 0x7f80);
    EXPECT_GT(sums[1] & 0x7fff, 0x7f80);
    EXPECT_EQ(sums[2], world() == 1 ? 0x7f7f : 0x7f80);
  });
}

TEST_P(CommunicatorSumsTest, FusedWithANormAreTheSumAndThenTheOp) {
  constexpr int64_t kRows = 3;
  constexpr int64_t kCols = 16;
  constexpr int64_t kCount = kRows * kCols;
  OnEveryRank([&](RankUnderTest& rank) {
    const auto tensor = [](float* data, int64_t rows) {
      return Tensor{data, DType::kF32, rows, kCols};
    };
    float* const weight = rank.Upload(Contribution(7, kCols));
    float* const residual = rank.Upload(Contribution(8, kCount));
    float* const expected_residual = rank.Upload(Contribution(8, kCount));
    float* const delta = rank.Upload(Contribution(rank.number(), kCount));
    float* const expected = rank.Upload(Contribution(rank.number(), kCount));
    ASSERT_TRUE(rank.comm().AllReduceSum(rank.stream(), tensor(expected, kRows)).ok());
    rank.backend().AddRmsNorm(rank.stream(), tensor(expected_residual, kRows),
                              tensor(expected, kRows), tensor(weight, 1), 1e-5f,
                              tensor(expected, kRows));
    ASSERT_TRUE(rank.comm()
                    .AllReduceAddRmsNorm(rank.stream(), rank.backend(), tensor(residual, kRows),
                                         tensor(delta, kRows), tensor(weight, 1), 1e-5f,
                                         tensor(delta, kRows))
                    .ok());
    EXPECT_EQ(rank.Download(residual, kCount), rank.Download(expected_residual, kCount));
    EXPECT_EQ(rank.Download(delta, kCount), rank.Download(expected, kCount));
  });
}

}  // namespace
}  // namespace phalanx
