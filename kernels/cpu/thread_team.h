// A fixed team of threads that share the parts of one piece of work at a time.
#ifndef PHALANX_KERNELS_CPU_THREAD_TEAM_H_
#define PHALANX_KERNELS_CPU_THREAD_TEAM_H_

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/types/span.h"

namespace phalanx::kernels {

// Calls come from one thread, which does parts of the work too. Each thread has an equal share of
// successive parts and does them in order, so that it finds in its caches what it read ahead of
// itself, and in the next call what it left there. A thread that is done takes over parts from the
// ends of the others' shares, so a thread that the system keeps from running delays the others by
// at most the part that it holds. Between calls the workers spin for some ten microseconds and then
// sleep.
class ThreadTeam {
 public:
  // Starts num_threads - 1 threads; num_threads is at least 1. Thread i keeps to the CPUs cpus[i],
  // if there is such an entry and the system allows it. Entry 0 stands for the calling thread,
  // which is left alone.
  explicit ThreadTeam(int num_threads, absl::Span<const std::vector<int>> cpus = {});
  ThreadTeam(const ThreadTeam&) = delete;
  ThreadTeam& operator=(const ThreadTeam&) = delete;
  ~ThreadTeam();

  int num_threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls task(part) once for each part in [0, num_parts), on any thread and in any order; returns
  // when all calls have returned.
  void Run(uint32_t num_parts, absl::FunctionRef<void(uint32_t part)> task);
  // As Run; `thread`, below num_threads(), is the thread that the call is on.
  void RunOnThreads(uint32_t num_parts, absl::FunctionRef<void(uint32_t part, int thread)> task);

  // Cuts [0, n) into a few parts for each thread, with borders at multiples of `grain`, and calls
  // task(begin, end) once for each.
  void ParallelFor(int64_t n, int64_t grain,
                   absl::FunctionRef<void(int64_t begin, int64_t end)> task);

  // Calls row(i) for i in [0, rows). `row_cost` is what a row costs in multiply-adds: little work
  // is done by the calling thread alone, because it takes less time than it takes another to begin.
  template <typename RowFunction>
  void ForEachRow(int64_t rows, int64_t row_cost, RowFunction row) {
    // A grain of all rows makes ParallelFor one part.
    const int64_t grain = rows * row_cost < kLeastParallelCost ? std::max<int64_t>(rows, 1) : 1;
    ParallelFor(rows, grain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) row(i);
    });
  }

 private:
  static constexpr int64_t kLeastParallelCost = 8192;

  // The parts [begin, end) of a thread's share that nobody has taken: begin in the lower 32 bits,
  // end in the upper ones. Its thread takes from the front, others from the back.
  using Share = std::atomic<uint64_t>;

  void Work(int thread);
  // Does parts until none is left: those of its own share, then others'.
  void TakeParts(int thread);

  // What different threads write lies on cache lines of its own.
  static constexpr size_t kCacheLine = 64;

  struct alignas(kCacheLine) PaddedShare {
    Share share = 0;
  };
  // One for each thread. Publish task_ and num_parts_, which do not change while a part is taken
  // and not done.
  const std::unique_ptr<PaddedShare[]> shares_;
  alignas(kCacheLine) std::atomic<uint32_t> done_ = 0;  // Parts done in this call.
  // What the workers wait on; wraps around.
  alignas(kCacheLine) std::atomic<uint32_t> calls_ = 0;
  // Written by the caller only.
  alignas(kCacheLine) const absl::FunctionRef<void(uint32_t, int)>* task_ = nullptr;
  uint32_t num_parts_ = 0;
  std::atomic<bool> stopping_ = false;
  std::vector<std::thread> workers_;
};

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_CPU_THREAD_TEAM_H_
