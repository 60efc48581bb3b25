#include "worker/comm/shm_communicator.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <functional>
#include <memory>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "kernels/reference/reference_backend.h"
#include "kernels/testing/aligned_vector.h"

namespace phalanx {
namespace {

using kernels::DType;
using kernels::Tensor;

constexpr int64_t kExchangeFloats = kExchangeBytes / sizeof(float);
constexpr int64_t kExchangeWords = kExchangeBytes / sizeof(uint64_t);

Tensor RowOf(std::vector<float>& values) {
  return {values.data(), DType::kF32, 1, static_cast<int64_t>(values.size())};
}

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
      ASSERT_TRUE(comm.AllReduceSum(stream, RowOf(data)).ok());
      EXPECT_EQ(data, expected);
    });
  }
}

TEST_P(ShmCommunicatorTest, KeepsManyRoundsApart) {
  OnEveryRank([&](Communicator& comm, kernels::Stream& stream) {
    for (int round = 0; round < 2000; ++round) {
      float value = static_cast<float>(round + comm.rank());
      ASSERT_TRUE(comm.AllReduceSum(stream, {&value, DType::kF32, 1, 1}).ok());
      const int ranks_sum = comm.world() * (comm.world() - 1) / 2;
      ASSERT_EQ(value, static_cast<float>(round * comm.world() + ranks_sum));
    }
  });
}

// The values are small whole numbers and halves of the last place of a bfloat16, so that sums have
// to be rounded, sometimes from exactly the middle.
TEST_P(ShmCommunicatorTest, SumsBFloat16InFloat32AndRoundsOnce) {
  const auto bits = [](float value) {
    return static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16);
  };
  const int64_t count = kExchangeBytes / sizeof(uint16_t) + 7;
  const auto value_of = [](int rank, int64_t i) {
    return rank == 0 ? 256.0f + static_cast<float>(i % 7) * 2 : static_cast<float>((i + rank) % 4);
  };
  OnEveryRank([&](Communicator& comm, kernels::Stream& stream) {
    std::vector<uint16_t> data(count);
    for (int64_t i = 0; i < count; ++i) data[i] = bits(value_of(comm.rank(), i));
    ASSERT_TRUE(comm.AllReduceSum(stream, {data.data(), DType::kBF16, 1, count}).ok());
    for (int64_t i = 0; i < count; ++i) {
      float sum = 0;
      for (int rank = 0; rank < comm.world(); ++rank) sum += value_of(rank, i);
      // bfloat16 from 256 to 512 are the even numbers; nearbyint rounds halves to even.
      const float expected = sum < 512 ? 2 * std::nearbyint(sum / 2) : sum;
      ASSERT_EQ(data[i], bits(expected)) << "sum of " << sum;
    }
  });
}

TEST_P(ShmCommunicatorTest, SumsOfBFloat16KeepInfinitiesAndNan) {
  OnEveryRank([&](Communicator& comm, kernels::Stream& stream) {
    // Infinity, a NaN of the lowest payload, and the highest finite number.
    std::vector<uint16_t> data = {0x7f80, 0x7f81, 0x7f7f};
    ASSERT_TRUE(comm.AllReduceSum(stream, {data.data(), DType::kBF16, 1, 3}).ok());
    EXPECT_EQ(data[0], 0x7f80);
    EXPECT_GT(data[1], 0x7f80);
    EXPECT_EQ(data[2], comm.world() == 1 ? 0x7f7f : 0x7f80);
  });
}

// Word `i` of what a rank brings: any number of 64 bits.
uint64_t WordOf(int rank, int64_t i) {
  const uint64_t mixed = static_cast<uint64_t>(rank * 1000003 + i + 1) * 0x9e3779b97f4a7c15;
  return mixed ^ mixed >> 29;
}

TEST_P(ShmCommunicatorTest, AFusedSumIsTheSumAndThenTheOp) {
  constexpr int64_t kRows = 3;
  constexpr int64_t kCols = 16;
  const auto aligned = [](const std::vector<float>& values) {
    kernels::AlignedVector<float> copy(values.size());
    std::copy(values.begin(), values.end(), copy.begin());
    return copy;
  };
  const auto tensor = [](kernels::AlignedVector<float>& values, int64_t rows) {
    return Tensor{values.data(), DType::kF32, rows, kCols};
  };
  OnEveryRank([&](Communicator& comm, kernels::Stream& stream) {
    const std::unique_ptr<kernels::Backend> backend = kernels::MakeReferenceBackend();
    auto weight = aligned(Contribution(7, kCols));
    auto residual = aligned(Contribution(8, kRows * kCols));
    auto expected_residual = residual;
    auto delta = aligned(Contribution(comm.rank(), kRows * kCols));
    auto expected = delta;
    ASSERT_TRUE(comm.AllReduceSum(stream, tensor(expected, kRows)).ok());
    backend->AddRmsNorm(stream, tensor(expected_residual, kRows), tensor(expected, kRows),
                        tensor(weight, 1), 1e-5f, tensor(expected, kRows));
    ASSERT_TRUE(comm.AllReduceAddRmsNorm(stream, *backend, tensor(residual, kRows),
                                         tensor(delta, kRows), tensor(weight, 1), 1e-5f,
                                         tensor(delta, kRows))
                    .ok());
    EXPECT_EQ(residual, expected_residual);
    EXPECT_EQ(delta, expected);
  });
}

TEST_P(ShmCommunicatorTest, CombinesWords) {
  for (const int64_t count :
       {int64_t{0}, int64_t{1}, int64_t{100}, kExchangeWords, 2 * kExchangeWords + 3}) {
    std::vector<uint64_t> sums(count, 0);
    std::vector<uint64_t> maxima(count, 0);
    for (int rank = 0; rank < world(); ++rank) {
      for (int64_t i = 0; i < count; ++i) {
        sums[i] += WordOf(rank, i);
        maxima[i] = std::max(maxima[i], WordOf(rank, i));
      }
    }
    OnEveryRank([&](Communicator& comm, kernels::Stream& stream) {
      std::vector<uint64_t> words(count);
      for (int64_t i = 0; i < count; ++i) words[i] = WordOf(comm.rank(), i);
      std::vector<uint64_t> other = words;
      ASSERT_TRUE(comm.AllReduceWords(stream, words.data(), count, WordOp::kSum).ok());
      EXPECT_TRUE(words == sums) << count;
      ASSERT_TRUE(comm.AllReduceWords(stream, other.data(), count, WordOp::kMax).ok());
      EXPECT_TRUE(other == maxima) << count;
    });
  }
}

TEST_P(ShmCommunicatorTest, GathersWordsInRankOrder) {
  for (const int64_t count :
       {int64_t{0}, int64_t{1}, int64_t{100}, kExchangeWords, 2 * kExchangeWords + 3}) {
    OnEveryRank([&](Communicator& comm, kernels::Stream& stream) {
      std::vector<uint64_t> mine(count);
      for (int64_t i = 0; i < count; ++i) mine[i] = WordOf(comm.rank(), i);
      std::vector<uint64_t> all(comm.world() * count);
      ASSERT_TRUE(comm.AllGatherWords(stream, mine.data(), count, all.data()).ok());
      for (int rank = 0; rank < comm.world(); ++rank) {
        for (int64_t i = 0; i < count; ++i) ASSERT_EQ(all[rank * count + i], WordOf(rank, i));
      }
    });
  }
}

TEST_P(ShmCommunicatorTest, CountsTheBytesThatItSends) {
  OnEveryRank([&](Communicator& comm, kernels::Stream& stream) {
    std::vector<float> floats(kExchangeFloats + 1);
    std::vector<uint64_t> words(10);
    std::vector<uint64_t> all(10 * comm.world());
    const auto expect = [&](uint64_t bytes) {
      EXPECT_EQ(comm.bytes_sent(), comm.world() == 1 ? 0 : bytes);
    };
    expect(0);
    ASSERT_TRUE(comm.AllReduceSum(stream, RowOf(floats)).ok());
    uint64_t bytes = floats.size() * sizeof(float);
    expect(bytes);
    ASSERT_TRUE(comm.AllReduceSum(stream, {floats.data(), DType::kBF16, 3, 5}).ok());
    expect(bytes += 30);
    ASSERT_TRUE(comm.AllReduceWords(stream, words.data(), 10, WordOp::kMax).ok());
    expect(bytes += 80);
    ASSERT_TRUE(comm.AllGatherWords(stream, words.data(), 10, all.data()).ok());
    expect(bytes += 80);
    ASSERT_TRUE(comm.Broadcast(stream, words.data(), 24).ok());
    expect(bytes += comm.rank() == 0 ? 24 : 0);
    ASSERT_TRUE(comm.Barrier().ok());
    expect(bytes);
  });
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
  uint64_t word = 1;
  uint64_t words[2];
  for (const int world : {1, 2}) {
    std::unique_ptr<Communicator> comm = std::move(MakeLocalGroup(world).front());
    comm->Abort();
    const int64_t count = world == 1 ? 1 : 0;
    const Tensor data = {&value, DType::kF32, 1, count};
    EXPECT_TRUE(absl::IsAborted(comm->AllReduceSum(*stream, data))) << world;
    EXPECT_TRUE(absl::IsAborted(comm->AllReduceWords(*stream, &word, count, WordOp::kSum)));
    EXPECT_TRUE(absl::IsAborted(comm->AllGatherWords(*stream, &word, count, words))) << world;
    EXPECT_TRUE(absl::IsAborted(comm->Broadcast(*stream, &value, 0))) << world;
  }
}

TEST(ShmCommunicatorFailureTest, AbortEndsEveryKindOfCollectiveThatWaits) {
  const std::unique_ptr<kernels::Backend> backend = kernels::MakeReferenceBackend();
  const std::unique_ptr<kernels::Stream> stream = backend->NewStream();
  float value = 1;
  uint64_t word = 1;
  uint64_t words[2];
  const std::function<absl::Status(Communicator&)> calls[] = {
      [&](Communicator& comm) {
        return comm.AllReduceSum(*stream, {&value, DType::kF32, 1, 1});
      },
      [&](Communicator& comm) { return comm.AllReduceWords(*stream, &word, 1, WordOp::kMax); },
      [&](Communicator& comm) { return comm.AllGatherWords(*stream, &word, 1, words); },
      [&](Communicator& comm) { return comm.Broadcast(*stream, &value, sizeof(value)); }};
  for (const auto& call : calls) {
    std::vector<std::unique_ptr<Communicator>> group = MakeLocalGroup(2, {.spins = 0});
    std::thread waiting([&] { EXPECT_TRUE(absl::IsAborted(call(*group[0]))); });
    group[1]->Abort();
    waiting.join();
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
