#include "kernels/cpu/thread_team.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace phalanx::kernels {
namespace {

TEST(ThreadTeamTest, RunsEveryPartOnceInEveryCall) {
  for (int threads : {1, 2, 5}) {
    ThreadTeam team(threads);
    EXPECT_EQ(team.num_threads(), threads);
    for (uint32_t parts : {0, 1, 2, 3, 17}) {
      std::vector<int> calls(parts, 0);
      for (int i = 0; i < 500; ++i) team.Run(parts, [&](uint32_t part) { ++calls[part]; });
      EXPECT_EQ(calls, std::vector<int>(parts, 500));
    }
  }
}

TEST(ThreadTeamTest, WorkOfOneCallIsSeenByTheNext) {
  ThreadTeam team(3);
  std::vector<int> values(6, 0);
  for (int i = 0; i < 1000; ++i) {
    std::vector<int> next(6);
    team.Run(6, [&](uint32_t part) { next[part] = values[(part + 1) % 6] + 1; });
    values = next;
  }
  EXPECT_EQ(values, std::vector<int>(6, 1000));
}

// Two parts that wait for each other end only if two threads run them at the same time.
TEST(ThreadTeamTest, PartsRunAtTheSameTime) {
  ThreadTeam team(2);
  for (int i = 0; i < 100; ++i) {
    std::atomic<int> arrived = 0;
    team.Run(2, [&](uint32_t) {
      arrived.fetch_add(1);
      while (arrived.load() < 2) std::this_thread::yield();
    });
  }
}

// What a thread reads ahead of a part is of use to itself only if it has the next part too.
TEST(ThreadTeamTest, AThreadDoesItsShareInOrder) {
  ThreadTeam team(2);
  constexpr uint32_t kParts = 8;
  std::vector<int> threads(kParts, -1);
  std::vector<uint32_t> order;
  std::atomic<int> arrived = 0;
  team.RunOnThreads(kParts, [&](uint32_t part, int thread) {
    threads[part] = thread;
    // Both are in their first part before either goes on.
    if (part == 0 || part == kParts / 2) {
      arrived.fetch_add(1);
      while (arrived.load() < 2) std::this_thread::yield();
    }
    if (thread == 0 && part < kParts / 2) order.push_back(part);
  });
  EXPECT_EQ(threads[0], 0);
  EXPECT_EQ(threads[kParts / 2], 1);
  EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
}

// The thread that has the last parts is held up until all others are done.
TEST(ThreadTeamTest, OthersTakeOverFromAThreadThatIsHeldUp) {
  ThreadTeam team(2);
  constexpr uint32_t kParts = 8;
  for (int i = 0; i < 100; ++i) {
    std::atomic<int> done = 0;
    team.RunOnThreads(kParts, [&](uint32_t, int thread) {
      if (thread == 1) {
        while (done.load() < static_cast<int>(kParts) - 1) std::this_thread::yield();
      }
      done.fetch_add(1);
    });
    EXPECT_EQ(done.load(), static_cast<int>(kParts));
  }
}

TEST(ThreadTeamTest, AWorkerThatSleptIsWoken) {
  ThreadTeam team(2);
  for (int i = 0; i < 3; ++i) {
    // Far longer than a worker spins.
    const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(20);
    while (std::chrono::steady_clock::now() < until) std::this_thread::yield();
    std::atomic<int> arrived = 0;
    team.Run(2, [&](uint32_t) {
      arrived.fetch_add(1);
      while (arrived.load() < 2) std::this_thread::yield();
    });
  }
}

// Far longer than the caller spins, and in the middle of a call.
TEST(ThreadTeamTest, ACallerThatSleepsIsWoken) {
  for (const int threads : {2, 4}) {
    ThreadTeam team(threads);
    for (int i = 0; i < 5; ++i) {
      std::atomic<int> arrived = 0;
      std::atomic<int> late = 0;
      team.RunOnThreads(threads, [&](uint32_t, int thread) {
        arrived.fetch_add(1);
        while (arrived.load() < threads) std::this_thread::yield();
        if (thread == 0) return;
        const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(5 * thread);
        while (std::chrono::steady_clock::now() < until) std::this_thread::yield();
        late.fetch_add(1);
      });
      EXPECT_EQ(late.load(), threads - 1);
    }
  }
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

// The CPUs that the calling thread may run on.
std::vector<int> AllowedCpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  sched_getaffinity(0, sizeof(set), &set);
  std::vector<int> cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
  }
  return cpus;
}

// What each of a team's threads may run on.
std::vector<std::vector<int>> AllowedCpusOf(ThreadTeam& team) {
  std::vector<std::vector<int>> cpus(team.num_threads());
  std::atomic<int> arrived = 0;
  team.RunOnThreads(team.num_threads(), [&](uint32_t, int thread) {
    cpus[thread] = AllowedCpus();
    arrived.fetch_add(1);
    while (arrived.load() < team.num_threads()) std::this_thread::yield();
  });
  return cpus;
}

TEST(ThreadTeamTest, ThreadsRunWhereTheyAreTold) {
  using Sets = std::vector<std::vector<int>>;
  const std::vector<int> before = AllowedCpus();
  const std::vector<int> first = {before.front()};
  const std::vector<int> last = {before.back()};
  ThreadTeam team(3, Sets{last, last, first});
  EXPECT_EQ(AllowedCpusOf(team), (Sets{before, last, first}));
  ThreadTeam shared(3, Sets{before, before, before});
  EXPECT_EQ(AllowedCpusOf(shared), (Sets{before, before, before}));
  ThreadTeam half(3, Sets{first, last});
  EXPECT_EQ(AllowedCpusOf(half), (Sets{before, last, before}));
  // CPUs that are not there.
  ThreadTeam lost(3, Sets{{0}, {1023}, {5000, -1}});
  EXPECT_EQ(AllowedCpusOf(lost), (Sets{before, before, before}));
}

TEST(ThreadTeamTest, StopsWithoutEverBeingUsed) { ThreadTeam team(4); }

TEST(ThreadTeamTest, TellsEachPartItsThread) {
  constexpr int kThreads = 3;
  ThreadTeam team(kThreads);
  for (int call = 0; call < 100; ++call) {
    // Two parts that are on one thread never overlap, so plain counters do.
    struct alignas(64) Counter {
      int parts = 0;
    };
    Counter counters[kThreads];
    team.RunOnThreads(50, [&](uint32_t, int thread) { ++counters[thread].parts; });
    EXPECT_EQ(counters[0].parts + counters[1].parts + counters[2].parts, 50);
  }
}

}  // namespace
}  // namespace phalanx::kernels
