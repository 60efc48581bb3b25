#include "kernels/cpu/thread_team.h"

#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace phalanx::kernels {
namespace {

TEST(ThreadTeamTest, RunsEveryThreadOnceInEveryCall) {
  for (int threads : {1, 2, 5}) {
    ThreadTeam team(threads);
    EXPECT_EQ(team.num_threads(), threads);
    std::vector<int> calls(threads, 0);
    for (int i = 0; i < 1000; ++i) team.Run([&](int thread) { ++calls[thread]; });
    EXPECT_EQ(calls, std::vector<int>(threads, 1000));
  }
}

TEST(ThreadTeamTest, WorkOfOneCallIsSeenByTheNext) {
  ThreadTeam team(3);
  std::vector<int> values(3, 0);
  for (int i = 0; i < 1000; ++i) {
    std::vector<int> next(3);
    team.Run([&](int thread) { next[thread] = values[(thread + 1) % 3] + 1; });
    values = next;
  }
  EXPECT_EQ(values, std::vector<int>(3, 1000));
}

TEST(ThreadTeamTest, CallerIsThreadZero) {
  ThreadTeam team(2);
  std::vector<std::thread::id> ids(2);
  team.Run([&](int thread) { ids[thread] = std::this_thread::get_id(); });
  EXPECT_EQ(ids[0], std::this_thread::get_id());
  EXPECT_NE(ids[1], ids[0]);
}

TEST(ThreadTeamTest, ParallelForCoversTheRangeOnceInWholeGrains) {
  for (int threads : {1, 2, 3}) {
    ThreadTeam team(threads);
    for (int64_t n : {0, 1, 4, 5, 23, 64}) {
      std::vector<int> covered(n, 0);
      team.ParallelFor(n, 4, [&](int64_t begin, int64_t end) {
        EXPECT_LT(begin, end);
        EXPECT_EQ(begin % 4, 0);
        EXPECT_TRUE(end % 4 == 0 || end == n);
        for (int64_t i = begin; i < end; ++i) ++covered[i];
      });
      EXPECT_EQ(covered, std::vector<int>(n, 1));
    }
  }
}

TEST(ThreadTeamTest, StopsWithoutEverBeingUsed) { ThreadTeam team(4); }

}  // namespace
}  // namespace phalanx::kernels
