// How communicators end: aborted, left alone by a rank, and followed by new ones.
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "gtest/gtest.h"
#include "worker/comm/testing/communicator_suite.h"

namespace phalanx {
namespace {

using kernels::DType;

class CommunicatorEndsTest : public testing::TestWithParam<TransportUnderTest> {
 protected:
  std::vector<std::unique_ptr<Communicator>> MakeGroup(
      int world, absl::Duration timeout = absl::Minutes(1)) const {
    return GetParam().make_group(world, timeout);
  }
};

INSTANTIATE_TEST_SUITE_P(AllTransports, CommunicatorEndsTest, testing::ValuesIn(AllTransports()),
                         [](const auto& info) { return info.param.name; });

// Every kind of collective, of `count` elements.
struct Collectives {
  explicit Collectives(RankUnderTest& rank, int64_t count = 1)
      : words(rank.Upload(std::vector<uint64_t>(std::max<int64_t>(count, 1)))),
        all(rank.Allocate<uint64_t>(4 * std::max<int64_t>(count, 1))) {
    calls = {
        [=, this](RankUnderTest& on) {
          return on.comm().AllReduceSum(on.stream(), {words, DType::kF32, 1, count});
        },
        [=, this](RankUnderTest& on) {
          return on.comm().AllReduceWords(on.stream(), words, count, WordOp::kMax);
        },
        [=, this](RankUnderTest& on) {
          return on.comm().AllGatherWords(on.stream(), words, count, all);
        },
        [=, this](RankUnderTest& on) { return on.comm().Broadcast(on.stream(), words, count); }};
  }
  uint64_t* const words;
  uint64_t* const all;
  std::vector<std::function<absl::Status(RankUnderTest&)>> calls;
};

TEST_P(CommunicatorEndsTest, AbortEndsABarrierThatWaitsAndStays) {
  const auto group = MakeGroup(2);
  std::thread waiting([&] {
    EXPECT_TRUE(absl::IsAborted(group[0]->Barrier()));
    EXPECT_TRUE(absl::IsAborted(group[0]->Barrier()));
  });
  group[0]->Abort();
  group[0]->Abort();
  waiting.join();
  EXPECT_TRUE(absl::IsAborted(group[0]->Barrier()));
}

TEST_P(CommunicatorEndsTest, AbortShowsWhereThereIsNothingToExchange) {
  for (const int world : {1, 2}) {
    const auto group = MakeGroup(world);
    RankUnderTest rank(GetParam(), group[0].get());
    const Collectives collectives(rank, /*count=*/world == 1 ? 1 : 0);
    rank.comm().Abort();
    for (const auto& call : collectives.calls) EXPECT_TRUE(absl::IsAborted(call(rank))) << world;
    EXPECT_TRUE(absl::IsAborted(rank.comm().Barrier())) << world;
  }
}

TEST_P(CommunicatorEndsTest, AbortEndsEveryKindOfCollectiveThatWaits) {
  for (size_t kind = 0; kind < 4; ++kind) {
    const auto group = MakeGroup(2);
    RankUnderTest rank(GetParam(), group[0].get());
    const Collectives collectives(rank);
    std::thread waiting([&] {
      absl::Status status = collectives.calls[kind](rank);
      // Where it was only queued, the stream must come to its end, and the rank be told.
      if (status.ok()) status = rank.Finish();
      EXPECT_TRUE(absl::IsAborted(status)) << status;
    });
    group[0]->Abort();
    waiting.join();
    EXPECT_TRUE(absl::IsAborted(collectives.calls[kind](rank)));
  }
}

// Whether a call ended because of a peer that ended.
bool IsPeersEnd(const absl::Status& status) {
  return absl::IsAborted(status) || absl::IsUnavailable(status);
}

TEST_P(CommunicatorEndsTest, AbortOfAPeerEndsEveryKindOfCollective) {
  if (!GetParam().tells_of_abort) GTEST_SKIP() << "whoever watches over the group aborts each rank";
  for (size_t kind = 0; kind < 4; ++kind) {
    const auto group = MakeGroup(2);
    RankUnderTest rank(GetParam(), group[1].get());
    const Collectives collectives(rank);
    std::thread waiting([&] {
      const absl::Status status = collectives.calls[kind](rank);
      EXPECT_TRUE(IsPeersEnd(status)) << status;
      EXPECT_EQ(rank.comm().Barrier(), status);
    });
    group[0]->Abort();
    waiting.join();
  }
}

TEST_P(CommunicatorEndsTest, TheEndOfAPeerEndsEveryKindOfCollective) {
  if (!GetParam().tells_of_end) GTEST_SKIP() << "whoever watches over the group aborts the others";
  for (size_t kind = 0; kind < 4; ++kind) {
    auto group = MakeGroup(2);
    RankUnderTest rank(GetParam(), group[1].get());
    const Collectives collectives(rank);
    std::thread waiting([&] {
      const absl::Status status = collectives.calls[kind](rank);
      EXPECT_TRUE(absl::IsUnavailable(status)) << status;
      EXPECT_EQ(rank.comm().Barrier(), status);
    });
    group[0].reset();
    waiting.join();
  }
}

// All ranks go from one collective to the next without a pause, so that the abort comes upon some
// part of one: data that is half sent, a rank that has left and one that has not begun.
TEST_P(CommunicatorEndsTest, AbortInTheMiddleEndsEveryKindOfCollective) {
  constexpr int kWorld = 3;
  constexpr int64_t kCount = 100'001;
  for (size_t kind = 0; kind < 4; ++kind) {
    for (const int calls_before : {0, 1, 5}) {
      const auto group = MakeGroup(kWorld);
      std::atomic<int> calls = 0;
      std::vector<std::thread> threads;
      for (const auto& comm : group) {
        threads.emplace_back([&, comm = comm.get()] {
          RankUnderTest rank(GetParam(), comm);
          const Collectives collectives(rank, kCount);
          absl::Status status;
          while (status.ok()) {
            status = collectives.calls[kind](rank);
            if (status.ok()) status = rank.Finish();
            ++calls;
          }
          EXPECT_TRUE(IsPeersEnd(status)) << status;
        });
      }
      while (calls < calls_before) std::this_thread::yield();
      group[0]->Abort();
      if (!GetParam().tells_of_abort) {
        group[1]->Abort();
        group[2]->Abort();
      }
      for (std::thread& thread : threads) thread.join();
    }
  }
}

TEST_P(CommunicatorEndsTest, ARankThatDoesNotComeEndsEveryKindOfCollective) {
  if (!GetParam().runs_at_once) GTEST_SKIP() << "the stream comes to a stop, and tells";
  for (size_t kind = 0; kind < 4; ++kind) {
    const auto group = MakeGroup(2, absl::Milliseconds(20));
    RankUnderTest rank(GetParam(), group[1].get());
    const Collectives collectives(rank);
    const absl::Status status = collectives.calls[kind](rank);
    EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
    EXPECT_EQ(collectives.calls[kind](rank), status);
  }
}

TEST_P(CommunicatorEndsTest, ARankThatDoesNotComeToABarrierEndsTheCommunicator) {
  const auto group = MakeGroup(2, absl::Milliseconds(20));
  const absl::Status status = group[0]->Barrier();
  EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
  EXPECT_EQ(group[0]->Barrier(), status);
  group[0]->Abort();
  EXPECT_EQ(group[0]->Barrier(), status);
}

TEST_P(CommunicatorEndsTest, CommunicatorsAreMadeAnewAfterAFailure) {
  for (int round = 0; round < 3; ++round) {
    const auto lost = MakeGroup(2, absl::Milliseconds(1));
    EXPECT_FALSE(lost[0]->Barrier().ok());
    OnEveryRank(GetParam(), 2, [&](RankUnderTest& rank) {
      uint64_t* const word = rank.Upload<uint64_t>({uint64_t{1} << rank.number()});
      ASSERT_TRUE(rank.comm().AllReduceWords(rank.stream(), word, 1, WordOp::kSum).ok());
      EXPECT_EQ(rank.Download(word, 1), std::vector<uint64_t>{3});
    });
  }
}

}  // namespace
}  // namespace phalanx
