// Long rows of random collectives, with ranks that come early and late, against results that are
// computed beside them.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <random>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "gtest/gtest.h"
#include "worker/comm/testing/communicator_suite.h"

namespace phalanx {
namespace {

using kernels::DType;

#if defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define PHALANX_SANITIZED 1
#endif
#endif
#if defined(PHALANX_SANITIZED)
// They take ten times as long.
constexpr int kSlowness = 10;
#else
constexpr int kSlowness = 1;
#endif
constexpr int kWorld = 3;
constexpr int64_t kMaxCount = 60'000;

enum class Kind { kSumF32, kSumBF16, kSumWords, kMaxWords, kGather, kBroadcast, kBarrier };

struct Operation {
  Kind kind = Kind::kBarrier;
  int64_t count = 0;
  uint64_t seed = 0;
};

// The same for every rank.
Operation NextOperation(std::mt19937_64& random) {
  Operation operation;
  operation.kind = static_cast<Kind>(random() % 7);
  operation.seed = random();
  // Mostly what a decode step sends, sometimes a prompt's rows, and nothing at all.
  const uint64_t choice = random() % 1000;
  const int64_t limit = choice < 900 ? 100 : choice < 998 ? 2000 : kMaxCount;
  operation.count = static_cast<int64_t>(random() % limit);
  return operation;
}

// Element `i` of what a rank brings: any bits.
uint64_t WordOf(const Operation& operation, int rank, int64_t i) {
  uint64_t x = operation.seed + static_cast<uint64_t>(rank) * 0x9e3779b97f4a7c15 + i * 0xd1342543;
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
  return x ^ x >> 27;
}

// Of very different sizes, so that sums depend on their order.
float FloatOf(const Operation& operation, int rank, int64_t i) {
  const uint64_t word = WordOf(operation, rank, i);
  return std::ldexp(static_cast<float>(word % 4096) - 2048, static_cast<int>(word >> 60));
}

uint16_t UpperHalf(float value) {
  return static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16);
}

float FromUpperHalf(uint16_t value) { return std::bit_cast<float>(uint32_t{value} << 16); }

uint16_t RoundToBFloat16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

// What all ranks together make of element `i`; of a gathering, what `rank` brings.
struct Expected {
  float sum = 0;
  float bf16_sum = 0;
  uint64_t word_sum = 0;
  uint64_t word_max = 0;

  Expected(const Operation& operation, int64_t i) {
    for (int rank = 0; rank < kWorld; ++rank) {
      sum += FloatOf(operation, rank, i);
      bf16_sum += FromUpperHalf(UpperHalf(FloatOf(operation, rank, i)));
      word_sum += WordOf(operation, rank, i);
      word_max = std::max(word_max, WordOf(operation, rank, i));
    }
  }
};

// One rank's memory, for one operation after the other.
class RandomRank {
 public:
  explicit RandomRank(RankUnderTest& rank)
      : rank_(rank),
        data_(rank.Allocate<uint64_t>(kMaxCount)),
        all_(rank.Allocate<uint64_t>(kWorld * kMaxCount)) {}

  // Fails the test if the result is wrong. Returns whether to go on.
  bool Run(const Operation& operation) {
    switch (operation.kind) {
      case Kind::kSumF32:
        return Reduce<float>(
            operation, [](const Operation& o, int r, int64_t i) { return FloatOf(o, r, i); },
            [](const Expected& expected) { return expected.sum; });
      case Kind::kSumBF16:
        return Reduce<uint16_t>(
            operation,
            [](const Operation& o, int r, int64_t i) { return UpperHalf(FloatOf(o, r, i)); },
            [](const Expected& expected) { return RoundToBFloat16(expected.bf16_sum); });
      case Kind::kSumWords:
        return Reduce<uint64_t>(operation, WordOf,
                                [](const Expected& expected) { return expected.word_sum; });
      case Kind::kMaxWords:
        return Reduce<uint64_t>(operation, WordOf,
                                [](const Expected& expected) { return expected.word_max; });
      case Kind::kGather:
        return Gather(operation);
      case Kind::kBroadcast:
        return Broadcast(operation);
      case Kind::kBarrier:
        return rank_.comm().Barrier().ok();
    }
    return false;
  }

 private:
  template <typename T>
  std::vector<T> Mine(const Operation& operation, T (*element)(const Operation&, int, int64_t)) {
    std::vector<T> values(operation.count);
    for (int64_t i = 0; i < operation.count; ++i) {
      values[i] = element(operation, rank_.number(), i);
    }
    rank_.CopyTo(reinterpret_cast<T*>(data_), values);
    return values;
  }

  absl::Status Call(const Operation& operation) {
    Communicator& comm = rank_.comm();
    kernels::Stream& stream = rank_.stream();
    switch (operation.kind) {
      case Kind::kSumF32:
        return comm.AllReduceSum(stream, {data_, DType::kF32, 1, operation.count});
      case Kind::kSumBF16:
        return comm.AllReduceSum(stream, {data_, DType::kBF16, 1, operation.count});
      case Kind::kSumWords:
        return comm.AllReduceWords(stream, data_, operation.count, WordOp::kSum);
      default:
        return comm.AllReduceWords(stream, data_, operation.count, WordOp::kMax);
    }
  }

  template <typename T>
  bool Reduce(const Operation& operation, T (*element)(const Operation&, int, int64_t),
              T (*result)(const Expected&)) {
    const std::vector<T> mine = Mine<T>(operation, element);
    if (const absl::Status status = Call(operation); !status.ok()) return Fail(status);
    const std::vector<T> got = rank_.Download(reinterpret_cast<T*>(data_), operation.count);
    for (int64_t i = 0; i < operation.count; ++i) {
      if (got[i] != result(Expected(operation, i))) return Fail("a wrong element");
    }
    return true;
  }

  bool Gather(const Operation& operation) {
    const std::vector<uint64_t> mine = Mine<uint64_t>(operation, WordOf);
    const absl::Status status =
        rank_.comm().AllGatherWords(rank_.stream(), data_, operation.count, all_);
    if (!status.ok()) return Fail(status);
    const std::vector<uint64_t> got = rank_.Download(all_, kWorld * operation.count);
    for (int64_t i = 0; i < kWorld * operation.count; ++i) {
      const int from = static_cast<int>(i / operation.count);
      if (got[i] != WordOf(operation, from, i % operation.count)) return Fail("a wrong word");
    }
    return true;
  }

  bool Broadcast(const Operation& operation) {
    const std::vector<uint64_t> mine = Mine<uint64_t>(operation, WordOf);
    const absl::Status status =
        rank_.comm().Broadcast(rank_.stream(), data_, operation.count * sizeof(uint64_t));
    if (!status.ok()) return Fail(status);
    const std::vector<uint64_t> got = rank_.Download(data_, operation.count);
    for (int64_t i = 0; i < operation.count; ++i) {
      if (got[i] != WordOf(operation, 0, i)) return Fail("a wrong word");
    }
    return true;
  }

  template <typename Reason>
  static bool Fail(const Reason& reason) {
    ADD_FAILURE() << reason;
    return false;
  }

  RankUnderTest& rank_;
  uint64_t* const data_;
  uint64_t* const all_;
};

// Makes this rank late by a time of its own: mostly not, sometimes for a few turns of others, and
// now and then long enough for the others to fall asleep.
void ComeLate(std::mt19937_64& random) {
  const uint64_t choice = random() % 4096;
  if (choice == 0) {
    const absl::Time until = MonotonicClock()->Now() + absl::Milliseconds(2);
    while (MonotonicClock()->Now() < until) std::this_thread::yield();
  } else if (choice < 256) {
    for (uint64_t i = 0; i < choice % 16; ++i) std::this_thread::yield();
  }
}

class CommunicatorRandomTest : public testing::TestWithParam<TransportUnderTest> {};

INSTANTIATE_TEST_SUITE_P(AllTransports, CommunicatorRandomTest, testing::ValuesIn(AllTransports()),
                         [](const auto& info) { return info.param.name; });

TEST_P(CommunicatorRandomTest, EveryOperationGivesWhatIsComputedBesideIt) {
  OnEveryRank(GetParam(), kWorld, [&](RankUnderTest& rank) {
    std::mt19937_64 operations(20261129);
    std::mt19937_64 delays(rank.number());
    RandomRank random_rank(rank);
    for (int i = 0; i < GetParam().random_operations / kSlowness; ++i) {
      const Operation operation = NextOperation(operations);
      ComeLate(delays);
      if (!random_rank.Run(operation)) {
        ADD_FAILURE() << "operation " << i << " of " << operation.count << " elements, kind "
                      << static_cast<int>(operation.kind);
        rank.comm().Abort();
        return;
      }
    }
  });
}

}  // namespace
}  // namespace phalanx
