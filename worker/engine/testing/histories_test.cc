#include "worker/engine/testing/histories.h"

#include <algorithm>
#include <cstdlib>

#include "gmock/gmock.h"
#include "gtest/gtest-spi.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

using ::testing::ElementsAre;

TEST(ShrinkTest, LeavesWhatIsNeeded) {
  const auto needs = [](absl::Span<const int> all) {
    return std::count(all.begin(), all.end(), 17) + std::count(all.begin(), all.end(), 903) == 2;
  };
  EXPECT_THAT(ShrinkOperations(1000, needs, 1000), ElementsAre(17, 903));
}

TEST(ShrinkTest, StopsAfterAsManyTriesAsItHas) {
  int calls = 0;
  ShrinkOperations(
      1000,
      [&](absl::Span<const int>) {
        ++calls;
        return false;
      },
      5);
  EXPECT_EQ(calls, 5);
}

TEST(HistoriesTest, AddsUpWhatHistoriesCount) {
  const HistoryTotals sums = RunHistories(10, 7, [](const HistoryInput& input) {
    return HistoryTotals{static_cast<int64_t>(input.operations.size()),
                         static_cast<int64_t>(input.seed)};
  });
  EXPECT_EQ(sums[0], 70);
  EXPECT_EQ(sums[1], 45);
}

// Dies when an operation of the upper half is followed by one of the lower half, in one history.
HistoryTotals DiesInTheThird(const HistoryInput& input) {
  bool high = false;
  for (const uint64_t operation : input.operations) {
    if (high && operation >> 63 == 0 && input.seed == 3) std::abort();
    high |= operation >> 63 == 1;
  }
  return {};
}

TEST(HistoriesTest, AHistoryThatDiesIsShortenedAndTold) {
  EXPECT_NONFATAL_FAILURE(RunHistories(10, 100, DiesInTheThird), "these 2 are enough");
  EXPECT_NONFATAL_FAILURE(RunHistories(10, 100, DiesInTheThird), "PHALANX_HISTORY=3:");
}

}  // namespace
}  // namespace phalanx
