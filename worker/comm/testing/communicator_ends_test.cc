// How communicators end: aborted, left alone by a rank, and followed by new ones.
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
      : words(rank.Upload(std::vector<uint64_t>(1))), all(rank.Allocate<uint64_t>(4)) {
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
