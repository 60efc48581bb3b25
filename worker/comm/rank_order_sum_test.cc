#include "worker/comm/rank_order_sum.h"

#include <cstring>
#include <numeric>
#include <vector>

#include "gtest/gtest.h"

namespace phalanx {
namespace {

// More than are put together at a time, and an odd rest.
constexpr int64_t kCount = 2500;

std::vector<float> PartOf(int rank) {
  std::vector<float> part(kCount);
  // Of very different sizes, so that sums depend on their order.
  for (int64_t i = 0; i < kCount; ++i) {
    part[i] = static_cast<float>(i + 1) * (rank % 2 == 0 ? 1e6f : 1e-3f);
  }
  return part;
}

class RankOrderSumTest : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Worlds, RankOrderSumTest, testing::Values(2, 3, 5));

// In particular where the result takes the place of a part, whichever it is.
TEST_P(RankOrderSumTest, TheResultMayTakeThePlaceOfAPart) {
  const int world = GetParam();
  std::vector<float> expected = PartOf(0);
  for (int rank = 1; rank < world; ++rank) {
    const std::vector<float> part = PartOf(rank);
    for (int64_t i = 0; i < kCount; ++i) expected[i] += part[i];
  }
  for (int place = 0; place < world; ++place) {
    std::vector<std::vector<float>> data;
    std::vector<const std::byte*> parts;
    for (int rank = 0; rank < world; ++rank) data.push_back(PartOf(rank));
    for (const std::vector<float>& part : data) {
      parts.push_back(reinterpret_cast<const std::byte*>(part.data()));
    }
    ReduceInRankOrder(Reduction::kSumF32, parts, kCount,
                      reinterpret_cast<std::byte*>(data[place].data()));
    EXPECT_TRUE(data[place] == expected) << place;
  }
}

TEST(ReduceInRankOrderTest, NothingNeedBeAligned) {
  std::vector<std::byte> memory(2 * sizeof(uint64_t) + 1);
  const uint64_t words[] = {3, ~uint64_t{0}};
  std::memcpy(&memory[1], words, sizeof(words));
  const std::byte* const parts[] = {&memory[1], &memory[1 + sizeof(uint64_t)]};
  ReduceInRankOrder(Reduction::kSumWords, parts, 1, &memory[1]);
  uint64_t sum = 0;
  std::memcpy(&sum, &memory[1], sizeof(sum));
  EXPECT_EQ(sum, 2u);
}

}  // namespace
}  // namespace phalanx
