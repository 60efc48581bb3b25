#include "worker/comm/shm_communicator.h"

#include <cmath>
#include <functional>
#include <memory>
#include <numeric>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "kernels/reference/reference_backend.h"

namespace phalanx {
namespace {

constexpr int64_t kExchangeFloats = kExchangeBytes / sizeof(float);

// What rank `rank` brings to a collective: seeded, so that every rank can compute everyone's.
std::vector<float> Contribution(int rank, int64_t count) {
  std::mt19937 random(static_cast<uint32_t>(rank * 1000003 + count));
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

// Runs `body` for every rank on a thread of its own.
class ShmCommunicatorTest : public testing::TestWithParam<int> {
 protected:
  using Body = std::function<void(Communicator&, kernels::Stream&)>;

  void OnEveryRank(const Body& body, const ShmCommunicator::Options& options = {}) {
    std::vector<std::unique_ptr<Communicator>> group = MakeLocalGroup(world(), options);
    std::vector<std::thread> threads;
    for (std::unique_ptr<Communicator>& comm : group) {
      threads.emplace_back([&body, &comm] {
        const std::unique_ptr<kernels::Backend> backend = kernels::MakeReferenceBackend();
        body(*comm, *backend->NewStream());
      });
    }
    for (std::thread& thread : threads) thread.join();
  }

  int world() const { return GetParam(); }
};

TEST_P(ShmCommunicatorTest, SumsInRankOrderToTheBit) {
  for (const int64_t count : {int64_t{0}, int64_t{1}, int64_t{7}, int64_t{576}, kExchangeFloats,
                              kExchangeFloats + 1, 3 * kExchangeFloats + 5}) {
    std::vector<float> expected = Contribution(0, count);
    for (int rank = 1; rank < world(); ++rank) {
      const std::vector<float> next = Contribution(rank, count);
      for (int64_t i = 0; i < count; ++i) expected[i] += next[i];
    }
    OnEveryRank([&](Communicator& comm, kernels::Stream& stream) {
      std::vector<float> data = Contribution(comm.rank(), count);
      ASSERT_TRUE(comm.AllReduceSum(stream, data.data(), count).ok());
      EXPECT_EQ(data, expected);
    });
  }
}

TEST_P(ShmCommunicatorTest, KeepsManyRoundsApart) {
  OnEveryRank([&](Communicator& comm, kernels::Stream& stream) {
    for (int round = 0; round < 2000; ++round) {
      float value = static_cast<float>(round + comm.rank());
      ASSERT_TRUE(comm.AllReduceSum(stream, &value, 1).ok());
      const int ranks_sum = comm.world() * (comm.world() - 1) / 2;
      ASSERT_EQ(value, static_cast<float>(round * comm.world() + ranks_sum));
    }
  });
}

TEST_P(ShmCommunicatorTest, GathersUnequalColumnsAtRankZero) {
  for (const int64_t widest :
       {int64_t{1}, int64_t{13}, kExchangeFloats / 2 + 1, kExchangeFloats + 3}) {
    constexpr int64_t kRows = 3;
    std::vector<int64_t> cols(world());
    for (int rank = 0; rank < world(); ++rank) cols[rank] = std::max<int64_t>(0, widest - rank);
    const int64_t total = std::accumulate(cols.begin(), cols.end(), int64_t{0});
    OnEveryRank([&](Communicator& comm, kernels::Stream& stream) {
      const std::vector<float> from = Contribution(comm.rank(), kRows * cols[comm.rank()]);
      std::vector<float> to(comm.rank() == 0 ? kRows * total : 0);
      ASSERT_TRUE(comm.GatherColumns(stream, from.data(), kRows, cols.data(), to.data()).ok());
      int64_t begin = 0;
      for (int rank = 0; comm.rank() == 0 && rank < comm.world(); begin += cols[rank++]) {
        const std::vector<float> piece = Contribution(rank, kRows * cols[rank]);
        for (int64_t row = 0; row < kRows; ++row) {
          for (int64_t col = 0; col < cols[rank]; ++col) {
            ASSERT_EQ(to[row * total + begin + col], piece[row * cols[rank] + col]);
          }
        }
      }
    });
  }
}

TEST_P(ShmCommunicatorTest, BroadcastsFromRankZero) {
  const int64_t count = kExchangeFloats + 9;
  const std::vector<float> expected = Contribution(0, count);
  OnEveryRank([&](Communicator& comm, kernels::Stream& stream) {
    std::vector<float> data = Contribution(comm.rank(), count);
    ASSERT_TRUE(comm.Broadcast(stream, data.data(), count * sizeof(float)).ok());
    EXPECT_EQ(data, expected);
  });
}

TEST_P(ShmCommunicatorTest, BarrierWaitsForAll) {
  std::atomic<int> before = 0;
  OnEveryRank([&](Communicator& comm, kernels::Stream&) {
    before.fetch_add(1);
    ASSERT_TRUE(comm.Barrier().ok());
    EXPECT_EQ(before.load(), world());
  });
}

INSTANTIATE_TEST_SUITE_P(Worlds, ShmCommunicatorTest, testing::Values(1, 2, 3, 4));

TEST(ShmCommunicatorFailureTest, AbortWakesASleepingRankAndStays) {
  std::vector<std::unique_ptr<Communicator>> group = MakeLocalGroup(2, {.spins = 0});
  std::thread waiting([&] {
    EXPECT_EQ(group[0]->Barrier().code(), absl::StatusCode::kAborted);
    EXPECT_EQ(group[0]->Barrier().code(), absl::StatusCode::kAborted);
  });
  group[1]->Abort();
  waiting.join();
  EXPECT_EQ(group[1]->Barrier().code(), absl::StatusCode::kAborted);
}

TEST(ShmCommunicatorFailureTest, AbortShowsWhereThereIsNothingToExchange) {
  const std::unique_ptr<kernels::Backend> backend = kernels::MakeReferenceBackend();
  const std::unique_ptr<kernels::Stream> stream = backend->NewStream();
  float value = 1;
  const int64_t cols[] = {0, 0};
  for (const int world : {1, 2}) {
    std::unique_ptr<Communicator> comm = std::move(MakeLocalGroup(world).front());
    comm->Abort();
    const int64_t count = world == 1 ? 1 : 0;
    EXPECT_TRUE(absl::IsAborted(comm->AllReduceSum(*stream, &value, count))) << world;
    EXPECT_TRUE(absl::IsAborted(comm->GatherColumns(*stream, &value, 1, cols, &value))) << world;
    EXPECT_TRUE(absl::IsAborted(comm->Broadcast(*stream, &value, 0))) << world;
  }
}

// Else the last step of a group that leaves could fail on the ranks that are a little late.
TEST(ShmCommunicatorFailureTest, AnExchangeThatIsCompleteOutlivesAbort) {
  auto segment = CommunicatorSegment::Create(2);
  ASSERT_TRUE(segment.ok());
  (*segment)->Arrive(0, 1);
  (*segment)->Arrive(1, 1);
  (*segment)->Abort();
  EXPECT_TRUE((*segment)->WaitForAll(1, /*spins=*/0, absl::Minutes(1)).ok());
  EXPECT_TRUE(absl::IsAborted((*segment)->WaitForAll(2, /*spins=*/0, absl::Minutes(1))));
}

TEST(ShmCommunicatorFailureTest, APeerThatNeverComesIsNamedAndFailsTheGroup) {
  std::vector<std::unique_ptr<Communicator>> group =
      MakeLocalGroup(2, {.timeout = absl::Milliseconds(20), .spins = 10});
  const absl::Status status = group[0]->Barrier();
  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_NE(status.message().find("rank 1"), absl::string_view::npos) << status;
  EXPECT_EQ(group[0]->Barrier(), status);
  EXPECT_EQ(group[1]->Barrier().code(), absl::StatusCode::kAborted);
}

}  // namespace
}  // namespace phalanx
