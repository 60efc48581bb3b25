#include "coordinator/text/tokenizer/merge_queue.h"

#include <gtest/gtest.h>

#include <random>
#include <set>
#include <utility>

namespace phalanx {
namespace {

TEST(MergeQueueTest, GivesPairsByRankThenPlaceWhateverTheOrderTheyCameIn) {
  std::mt19937 random(1);
  MergeQueue queue(8);
  std::multiset<std::pair<int32_t, int32_t>> expected;
  for (int step = 0; step < 20'000; ++step) {
    const bool push = expected.empty() || (expected.size() < 300 && random() % 2 == 0);
    if (push) {
      const MergeQueue::Pair pair = {static_cast<int32_t>(random() % 7),
                                     static_cast<int32_t>(random() % 1000)};
      queue.Push(pair);
      expected.insert({pair.rank, pair.place});
    } else {
      const MergeQueue::Pair pair = queue.Pop();
      ASSERT_EQ(std::pair(pair.rank, pair.place), *expected.begin());
      expected.erase(expected.begin());
    }
    ASSERT_EQ(queue.empty(), expected.empty());
  }
}

}  // namespace
}  // namespace phalanx
