#include "worker/thread_placement.h"

#include <set>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

using testing::AllOf;
using testing::Each;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

using Cpus = std::vector<std::vector<int>>;

// `nodes` nodes of `cores` cores each. CPUs are numbered as Linux does it: the first ones of all
// cores, node by node, then the second ones.
std::vector<HostCpu> Machine(int nodes, int cores, int cpus_per_core = 1) {
  std::vector<HostCpu> machine;
  for (int turn = 0; turn < cpus_per_core; ++turn) {
    for (int core = 0; core < nodes * cores; ++core) {
      machine.push_back({turn * nodes * cores + core, core, core / cores});
    }
  }
  return machine;
}

std::vector<HostCpu> Only(const std::vector<HostCpu>& machine, const std::set<int>& cpus) {
  std::vector<HostCpu> some;
  for (const HostCpu& cpu : machine) {
    if (cpus.count(cpu.cpu) > 0) some.push_back(cpu);
  }
  return some;
}

ThreadPlacement Place(const std::vector<HostCpu>& cpus, int ranks, int threads, PinMode mode) {
  return PlaceThreads(mode, cpus, static_cast<int>(cpus.size()), {ranks, threads});
}

// The CPU of each thread of each rank. None if they are left free.
Cpus Pinned(const std::vector<HostCpu>& cpus, int ranks, int threads) {
  Cpus result;
  for (const auto& rank : Place(cpus, ranks, threads, PinMode::kCores).cpus) {
    result.emplace_back();
    for (const CpuSet& set : rank) {
      EXPECT_THAT(set, SizeIs(1));
      result.back().push_back(set.front());
    }
  }
  return result;
}

// What the threads of each rank may run on, by default.
Cpus Kept(const std::vector<HostCpu>& cpus, int ranks, int threads) {
  Cpus result;
  for (const auto& rank : Place(cpus, ranks, threads, PinMode::kAuto).cpus) {
    EXPECT_THAT(rank, AllOf(SizeIs(threads), Each(rank.front())));
    result.push_back(rank.front());
  }
  return result;
}

TEST(ThreadPlacementTest, OneRankHasACpuForEachThread) {
  EXPECT_EQ(Pinned(Machine(1, 4), 1, 4), (Cpus{{0, 1, 2, 3}}));
  EXPECT_EQ(Place(Machine(1, 4), 1, 4, PinMode::kCores).reason,
            "1 rank of 4 threads on 4 cores, 1 NUMA node");
}

TEST(ThreadPlacementTest, RanksShareNoCore) {
  EXPECT_EQ(Pinned(Machine(1, 4), 2, 2), (Cpus{{0, 1}, {2, 3}}));
  // Both CPUs of a core are of one rank, though each rank could have first ones only.
  EXPECT_EQ(Pinned(Machine(1, 4, 2), 2, 4), (Cpus{{0, 1, 4, 5}, {2, 3, 6, 7}}));
}

TEST(ThreadPlacementTest, CoresComeBeforeTheirSecondCpus) {
  EXPECT_EQ(Pinned(Machine(1, 4, 2), 1, 4), (Cpus{{0, 1, 2, 3}}));
  EXPECT_EQ(Pinned(Machine(1, 4, 2), 1, 6), (Cpus{{0, 1, 2, 3, 4, 5}}));
}

TEST(ThreadPlacementTest, TheOrderOfTheNumbersDoesNotMatter) {
  // Where the CPUs of a core are numbered one after the other.
  const std::vector<HostCpu> machine = {{0, 0, 0}, {1, 0, 0}, {2, 2, 0}, {3, 2, 0}};
  EXPECT_EQ(Pinned(machine, 1, 2), (Cpus{{0, 2}}));
  EXPECT_EQ(Pinned(machine, 2, 2), (Cpus{{0, 1}, {2, 3}}));
}

TEST(ThreadPlacementTest, EachRankHasANodeWhereThereAreSeveral) {
  EXPECT_EQ(Pinned(Machine(2, 2), 2, 2), (Cpus{{0, 1}, {2, 3}}));
  EXPECT_EQ(Pinned(Machine(2, 2, 2), 2, 2), (Cpus{{0, 1}, {2, 3}}));
  EXPECT_EQ(Pinned(Machine(2, 4), 2, 3), (Cpus{{0, 1, 2}, {4, 5, 6}}));
  EXPECT_EQ(Pinned(Machine(2, 4), 4, 2), (Cpus{{0, 1}, {2, 3}, {4, 5}, {6, 7}}));
  // Three on two nodes: two of them share one.
  EXPECT_EQ(Pinned(Machine(2, 4), 3, 2), (Cpus{{0, 1}, {2, 3}, {4, 5}}));
}

TEST(ThreadPlacementTest, ARankThatFitsOnNoNodeTakesSeveral) {
  EXPECT_EQ(Pinned(Machine(2, 2), 1, 4), (Cpus{{0, 1, 2, 3}}));
  EXPECT_EQ(Pinned(Machine(4, 2), 2, 4), (Cpus{{0, 1, 2, 3}, {4, 5, 6, 7}}));
  // Two of three do not fit on one of the nodes, so none is kept to its node.
  EXPECT_EQ(Pinned(Machine(2, 3), 3, 2), (Cpus{{0, 1}, {2, 3}, {4, 5}}));
}

TEST(ThreadPlacementTest, ALargerNodeHasMoreRanks) {
  // What a container may use of a machine need not be the same on every node.
  const std::vector<HostCpu> uneven = Only(Machine(2, 8), {2, 3, 8, 9, 10, 11});
  EXPECT_EQ(Pinned(uneven, 3, 2), (Cpus{{2, 3}, {8, 9}, {10, 11}}));
  EXPECT_EQ(Pinned(uneven, 2, 3), (Cpus{{2, 3, 8}, {9, 10, 11}}));
}

TEST(ThreadPlacementTest, HalfACoreIsACore) {
  // The second CPU of core 0 is not allowed, or offline.
  const std::vector<HostCpu> some = Only(Machine(1, 2, 2), {0, 1, 3});
  EXPECT_EQ(Pinned(some, 1, 3), (Cpus{{0, 1, 3}}));
  EXPECT_EQ(Pinned(some, 2, 1), (Cpus{{0}, {1}}));
  EXPECT_THAT(Pinned(some, 2, 2), IsEmpty());
}

TEST(ThreadPlacementTest, MoreThreadsThanCpusRunAnywhere) {
  EXPECT_THAT(Pinned(Machine(1, 2), 3, 1), IsEmpty());
  EXPECT_THAT(Pinned(Machine(1, 2), 1, 3), IsEmpty());
  EXPECT_THAT(Kept(Machine(2, 2), 1, 5), IsEmpty());
  EXPECT_THAT(Place(Machine(1, 2), 3, 1, PinMode::kCores).reason,
              HasSubstr("would meet on a core"));
}

TEST(ThreadPlacementTest, ByDefaultARankKeepsToItsNode) {
  const ThreadPlacement placement = Place(Machine(2, 3), 2, 3, PinMode::kAuto);
  EXPECT_EQ(placement.reason, "2 ranks of 3 threads on 6 cores, 2 NUMA nodes");
  EXPECT_EQ(Kept(Machine(2, 3), 2, 3), (Cpus{{0, 1, 2}, {3, 4, 5}}));
  // With SMT, threads may use both CPUs of a core, and choose.
  EXPECT_EQ(Kept(Machine(2, 2, 2), 2, 2), (Cpus{{0, 1, 4, 5}, {2, 3, 6, 7}}));
  // Ranks of one node have their own cores there.
  EXPECT_EQ(Kept(Machine(2, 2), 4, 1), (Cpus{{0}, {1}, {2}, {3}}));
  // One that fits on no node has all.
  EXPECT_EQ(Kept(Machine(2, 2), 1, 4), (Cpus{{0, 1, 2, 3}}));
}

TEST(ThreadPlacementTest, ByDefaultThreadsOfASingleNodeRunAnywhere) {
  EXPECT_THAT(Kept(Machine(1, 4), 2, 2), IsEmpty());
  EXPECT_EQ(Place(Machine(1, 4), 1, 4, PinMode::kAuto).reason,
            "1 rank of 4 threads on 4 cores, 1 NUMA node");
}

TEST(ThreadPlacementTest, AQuotaBelowTheCpusMeansThatOthersShareThem) {
  const std::vector<HostCpu> machine = Machine(2, 4);
  const ThreadPlacement placement = PlaceThreads(PinMode::kAuto, machine, 4, {1, 4});
  EXPECT_THAT(placement.cpus, IsEmpty());
  EXPECT_EQ(placement.reason,
            "a quota of 4 CPUs is below the 8 that may be used, which others share");
  EXPECT_THAT(PlaceThreads(PinMode::kCores, machine, 4, {1, 4}).cpus, SizeIs(1));
}

TEST(ThreadPlacementTest, CoresThatAreLeftOverAreForOthers) {
  const ThreadPlacement placement = Place(Machine(2, 4), 2, 3, PinMode::kAuto);
  EXPECT_THAT(placement.cpus, IsEmpty());
  EXPECT_EQ(placement.reason,
            "2 ranks of 3 threads on 8 cores, 2 NUMA nodes leave room for others");
  EXPECT_EQ(Pinned(Machine(2, 4), 2, 3), (Cpus{{0, 1, 2}, {4, 5, 6}}));
  // But for what does not go up: a third of eight cores is two of them.
  EXPECT_EQ(Kept(Machine(2, 4), 3, 2), (Cpus{{0, 1}, {2, 3}, {4, 5, 6, 7}}));
}

TEST(ThreadPlacementTest, NoneIsNone) {
  EXPECT_THAT(Place(Machine(2, 4), 1, 4, PinMode::kNone).cpus, IsEmpty());
  EXPECT_EQ(Place(Machine(2, 4), 1, 4, PinMode::kNone).reason, "as --pin says");
}

TEST(ThreadPlacementTest, AMachineThatTellsNothingIsLeftAlone) {
  for (const PinMode mode : {PinMode::kAuto, PinMode::kCores}) {
    EXPECT_THAT(Place({}, 1, 1, mode).cpus, IsEmpty());
  }
}

// For all small machines and groups: what holds of each placement.
TEST(ThreadPlacementTest, NoCpuIsThereTwiceAndNoCoreInTwoRanks) {
  for (int nodes = 1; nodes <= 4; ++nodes) {
    for (int cores = 1; cores <= 5; ++cores) {
      for (int per_core = 1; per_core <= 2; ++per_core) {
        const std::vector<HostCpu> machine = Machine(nodes, cores, per_core);
        for (int ranks = 1; ranks <= 9; ++ranks) {
          for (int threads = 1; threads <= 9; ++threads) {
            const Cpus placed = Pinned(machine, ranks, threads);
            if (placed.empty()) {
              // Some rank would have had too few cores, so there are not enough for even parts.
              EXPECT_GT(threads, nodes * cores / ranks * per_core);
              continue;
            }
            ASSERT_EQ(placed.size(), static_cast<size_t>(ranks));
            std::set<int> seen;
            std::set<std::pair<int, int>> owners;  // Of cores.
            std::set<int> owned;
            for (int rank = 0; rank < ranks; ++rank) {
              EXPECT_EQ(placed[rank].size(), static_cast<size_t>(threads));
              for (const int cpu : placed[rank]) {
                EXPECT_TRUE(seen.insert(cpu).second) << cpu;
                const int core = cpu % (nodes * cores);
                owners.insert({core, rank});
                owned.insert(core);
              }
            }
            EXPECT_EQ(owners.size(), owned.size()) << "two ranks on a core";
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace phalanx
