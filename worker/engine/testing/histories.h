// Random histories for property tests, each in a process of its own. A history that fails, also one
// that dies, is cut down to a short one that still fails, and can be run again.
#ifndef PHALANX_WORKER_ENGINE_TESTING_HISTORIES_H_
#define PHALANX_WORKER_ENGINE_TESTING_HISTORIES_H_

#include <array>
#include <cstdint>
#include <functional>
#include <limits>
#include <random>
#include <vector>

#include "absl/types/span.h"

namespace phalanx {

// Random numbers that depend on `seed` alone (SplitMix64). Cheap to make.
class HistoryRandom {
 public:
  using result_type = uint64_t;
  explicit HistoryRandom(uint64_t seed) : state_(seed) {}
  static constexpr uint64_t min() { return 0; }
  static constexpr uint64_t max() { return std::numeric_limits<uint64_t>::max(); }

  uint64_t operator()() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }

  int Draw(int low, int high) { return std::uniform_int_distribution<int>(low, high)(*this); }

 private:
  uint64_t state_;
};

struct HistoryInput {
  uint64_t seed = 0;
  // Each operation draws all that it needs from a HistoryRandom of its own, so that it stays the
  // same when others before it are left out.
  std::vector<uint64_t> operations;
  // Whether each operation is to be printed: the history has failed and is as short as it gets.
  bool tell = false;
};

// What histories count, to show that they were worth the while; each test knows what is where.
using HistoryTotals = std::array<int64_t, 8>;

// Runs a history. It fails by a failure of the test or by dying.
using RunHistory = std::function<HistoryTotals(const HistoryInput&)>;

// Runs histories of `operations` operations each, with seeds from 0 on. Returns the sums of what
// they count. If one fails, the test fails, prints how to run the shortened history again, and the
// others are not run. The environment's PHALANX_HISTORY, as it is printed, runs that history alone,
// in this process.
HistoryTotals RunHistories(int histories, int operations, const RunHistory& run);

// The operations that are left when as many as possible are left out and `fails` still holds, which
// it does for all of them. Calls `fails` at most `tries` times.
std::vector<int> ShrinkOperations(int count,
                                  const std::function<bool(absl::Span<const int>)>& fails,
                                  int tries);

}  // namespace phalanx

#endif  // PHALANX_WORKER_ENGINE_TESTING_HISTORIES_H_
