// Collectives of words and bytes, the barrier, and what is counted of them all.
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <vector>

#include "gtest/gtest.h"
#include "worker/comm/communicator_segment.h"
#include "worker/comm/testing/communicator_suite.h"

namespace phalanx {
namespace {

using kernels::DType;

constexpr int64_t kExchangeFloats = kExchangeBytes / sizeof(float);
constexpr int64_t kExchangeWords = kExchangeBytes / sizeof(uint64_t);
constexpr int64_t kCounts[] = {0, 1, 100, kExchangeWords, 2 * kExchangeWords + 3};

using CommunicatorWordsTest = CommunicatorTest;
PHALANX_COMMUNICATOR_SUITE(CommunicatorWordsTest);

// Word `i` of what a rank brings: any number of 64 bits.
uint64_t WordOf(int rank, int64_t i) {
  const uint64_t mixed = static_cast<uint64_t>(rank * 1000003 + i + 1) * 0x9e3779b97f4a7c15;
  return mixed ^ mixed >> 29;
}

std::vector<uint64_t> WordsOf(int rank, int64_t count) {
  std::vector<uint64_t> words(count);
  for (int64_t i = 0; i < count; ++i) words[i] = WordOf(rank, i);
  return words;
}

TEST_P(CommunicatorWordsTest, AreCombined) {
  for (const int64_t count : kCounts) {
    std::vector<uint64_t> sums(count, 0);
    std::vector<uint64_t> maxima(count, 0);
    for (int rank = 0; rank < world(); ++rank) {
      for (int64_t i = 0; i < count; ++i) {
        sums[i] += WordOf(rank, i);
        maxima[i] = std::max(maxima[i], WordOf(rank, i));
      }
    }
    OnEveryRank([&](RankUnderTest& rank) {
      uint64_t* const first = rank.Upload(WordsOf(rank.number(), count));
      uint64_t* const second = rank.Upload(WordsOf(rank.number(), count));
      Communicator& comm = rank.comm();
      ASSERT_TRUE(comm.AllReduceWords(rank.stream(), first, count, WordOp::kSum).ok());
      ASSERT_TRUE(comm.AllReduceWords(rank.stream(), second, count, WordOp::kMax).ok());
      EXPECT_TRUE(rank.Download(first, count) == sums) << count;
      EXPECT_TRUE(rank.Download(second, count) == maxima) << count;
    });
  }
}

TEST_P(CommunicatorWordsTest, AreGatheredInRankOrder) {
  for (const int64_t count : kCounts) {
    std::vector<uint64_t> expected;
    for (int rank = 0; rank < world(); ++rank) {
      const std::vector<uint64_t> words = WordsOf(rank, count);
      expected.insert(expected.end(), words.begin(), words.end());
    }
    OnEveryRank([&](RankUnderTest& rank) {
      const uint64_t* const mine = rank.Upload(WordsOf(rank.number(), count));
      uint64_t* const all = rank.Allocate<uint64_t>(world() * count);
      ASSERT_TRUE(rank.comm().AllGatherWords(rank.stream(), mine, count, all).ok());
      EXPECT_TRUE(rank.Download(all, world() * count) == expected) << count;
    });
  }
}

TEST_P(CommunicatorWordsTest, AreCountedOnceAsBytesSent) {
  OnEveryRank([&](RankUnderTest& rank) {
    Communicator& comm = rank.comm();
    kernels::Stream& stream = rank.stream();
    constexpr int64_t kFloats = kExchangeFloats + 1;
    float* const floats = rank.Upload(std::vector<float>(kFloats));
    uint64_t* const words = rank.Upload(std::vector<uint64_t>(10));
    uint64_t* const all = rank.Allocate<uint64_t>(10 * world());
    const auto expect = [&](uint64_t bytes) {
      EXPECT_EQ(comm.bytes_sent(), world() == 1 ? 0 : bytes);
    };
    expect(0);
    ASSERT_TRUE(comm.AllReduceSum(stream, {floats, DType::kF32, 1, kFloats}).ok());
    uint64_t bytes = kFloats * sizeof(float);
    expect(bytes);
    ASSERT_TRUE(comm.AllReduceSum(stream, {floats, DType::kBF16, 3, 5}).ok());
    expect(bytes += 30);
    ASSERT_TRUE(comm.AllReduceWords(stream, words, 10, WordOp::kMax).ok());
    expect(bytes += 80);
    ASSERT_TRUE(comm.AllGatherWords(stream, words, 10, all).ok());
    expect(bytes += 80);
    ASSERT_TRUE(comm.Broadcast(stream, words, 24).ok());
    expect(bytes += rank.number() == 0 ? 24 : 0);
    ASSERT_TRUE(comm.Barrier().ok());
    expect(bytes);
    EXPECT_TRUE(rank.Finish().ok());
  });
}

TEST_P(CommunicatorWordsTest, OfRankZeroAreBroadcast) {
  constexpr int64_t kCount = kExchangeFloats + 9;
  const std::vector<float> expected = Contribution(0, kCount);
  OnEveryRank([&](RankUnderTest& rank) {
    float* const data = rank.Upload(Contribution(rank.number(), kCount));
    ASSERT_TRUE(rank.comm().Broadcast(rank.stream(), data, kCount * sizeof(float)).ok());
    EXPECT_TRUE(rank.Download(data, kCount) == expected);
  });
}

TEST_P(CommunicatorWordsTest, ABarrierWaitsForAll) {
  std::atomic<int> before = 0;
  OnEveryRank([&](RankUnderTest& rank) {
    before.fetch_add(1);
    ASSERT_TRUE(rank.comm().Barrier().ok());
    EXPECT_EQ(before.load(), world());
  });
}

// A collective takes its place between the ops around it, and so does what was recorded.
TEST_P(CommunicatorWordsTest, ARecordingRunsItsCollectivesEachTime) {
  constexpr int64_t kCount = 40;
  std::atomic<bool> records = true;
  OnEveryRank([&](RankUnderTest& rank) {
    float* const sums = rank.Upload(std::vector<float>(kCount));
    uint64_t* const words = rank.Upload(std::vector<uint64_t>(1));
    uint64_t* const all = rank.Allocate<uint64_t>(world());
    if (!rank.backend().can_record()) {
      records = false;
      return;
    }
    const auto recording = rank.backend().Record(rank.stream(), [&] {
      absl::Status status = rank.comm().AllReduceSum(rank.stream(), {sums, DType::kF32, 1, kCount});
      if (status.ok()) {
        status = rank.comm().AllReduceWords(rank.stream(), words, 1, WordOp::kSum);
      }
      if (status.ok()) status = rank.comm().AllGatherWords(rank.stream(), words, 1, all);
      return status;
    });
    ASSERT_TRUE(recording.ok()) << recording.status();
    for (int round = 0; round < 5; ++round) {
      const std::vector<float> floats(kCount, static_cast<float>(round + rank.number()));
      const uint64_t word = WordOf(rank.number(), round);
      rank.backend().CopyToBackend(rank.stream(), sums, floats.data(), kCount * sizeof(float));
      rank.backend().CopyToBackend(rank.stream(), words, &word, sizeof(word));
      rank.backend().Replay(rank.stream(), **recording);
      const int ranks_sum = world() * (world() - 1) / 2;
      EXPECT_EQ(rank.Download(sums, kCount),
                std::vector<float>(kCount, static_cast<float>(round * world() + ranks_sum)));
      uint64_t word_sum = 0;
      for (int r = 0; r < world(); ++r) word_sum += WordOf(r, round);
      EXPECT_EQ(rank.Download(all, world()), std::vector<uint64_t>(world(), word_sum));
    }
  });
  if (!records) GTEST_SKIP() << "the backend of this transport computes when it is called";
}

}  // namespace
}  // namespace phalanx
