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

#include "absl/types/span.h"

namespace phalanx::kernels {

// Calls come from one thread, which does parts of the work too. Each thread has an equal share of
// successive parts and does them in order, so that it finds in its caches what it read ahead of
// itself, and in the next call what it left there. A thread that is done takes over parts from the
// ends of the others' shares, so a thread that the system keeps from running delays the others by
// at most the part that it holds. Between calls the workers spin for some ten microseconds and then
// sleep.
//
// A step of a model makes some hundred calls, and a cache line takes up to half a microsecond from
// one core to another. So a call is told to a worker in one line of its own, and what a worker has
// done is told in another one.
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
  template <typename Task>
  void Run(uint32_t num_parts, const Task& task) {
    RunJob({.run_part = [](const Job& job, uint32_t part, int) { TaskOf<Task>(job)(part); },
            .task = &task,
            .num_parts = num_parts});
  }
  // As Run, with task(part, thread); `thread`, below num_threads(), is the thread that the call is
  // on.
  template <typename Task>
  void RunOnThreads(uint32_t num_parts, const Task& task) {
    RunJob({.run_part = [](const Job& job, uint32_t part,
                           int thread) { TaskOf<Task>(job)(part, thread); },
            .task = &task,
            .num_parts = num_parts});
  }

  // Cuts [0, n) into a few parts for each thread, with borders at multiples of `grain`, and calls
  // task(begin, end) once for each.
  template <typename Task>
  void ParallelFor(int64_t n, int64_t grain, const Task& task) {
    if (n <= 0) return;
    const int64_t grains = (n + grain - 1) / grain;
    const int64_t parts = std::min(grains, int64_t{num_threads()} * kPartsPerThread);
    if (parts <= 1 || workers_.empty()) {
      task(0, n);
      return;
    }
    RunJob({.run_part =
                [](const Job& job, uint32_t part, int) {
                  TaskOf<Task>(job)(job.BeginOf(part), std::min(job.n, job.BeginOf(part + 1)));
                },
            .task = &task,
            .num_parts = static_cast<uint32_t>(parts),
            .n = n,
            .grain = grain});
  }

  // Calls row(i) for i in [0, rows). `row_cost` is what a row costs in multiply-adds: little work
  // is done by the calling thread alone, because it takes less time than it takes another to begin.
  template <typename RowFunction>
  void ForEachRow(int64_t rows, int64_t row_cost, const RowFunction& row) {
    // A grain of all rows makes ParallelFor one part.
    const int64_t grain = rows * row_cost < kLeastParallelCost ? std::max<int64_t>(rows, 1) : 1;
    ParallelFor(rows, grain, [&row](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) row(i);
    });
  }

 private:
  static constexpr int64_t kLeastParallelCost = 8192;
  // More than one, so that others can take over from a thread that gets less processor time.
  static constexpr int64_t kPartsPerThread = 4;

  // What a call is about.
  struct Job {
    void (*run_part)(const Job& job, uint32_t part, int thread) = nullptr;
    const void* task = nullptr;
    uint32_t num_parts = 0;
    // Of ParallelFor only.
    int64_t n = 0;
    int64_t grain = 1;

    // Parts differ by at most one grain, and none is empty because there are no more parts than
    // grains.
    int64_t BeginOf(uint32_t part) const {
      const int64_t grains = (n + grain - 1) / grain;
      return grains * part / num_parts * grain;
    }
  };

  template <typename Task>
  static const Task& TaskOf(const Job& job) {
    return *static_cast<const Task*>(job.task);
  }

  // What different threads write lies on cache lines of its own.
  static constexpr size_t kCacheLine = 64;

  // How a thread is told of a call.
  struct alignas(kCacheLine) Mailbox {
    // Does not change while a part of `share` is open, or taken and not done.
    Job job;
    // The parts [begin, end) of the thread's share that nobody has taken: begin in the lower 32
    // bits, end in the upper ones. The thread takes from the front, others from the back. Publishes
    // the job.
    std::atomic<uint64_t> share = 0;
    // What the thread waits on; wraps around.
    std::atomic<uint32_t> calls = 0;
  };
  static_assert(sizeof(Mailbox) == kCacheLine);

  // The parts that a thread has done since the team began; wraps around.
  struct alignas(kCacheLine) Progress {
    std::atomic<uint32_t> done = 0;
  };

  void RunJob(const Job& job);
  void Work(int thread);
  // Does parts until none is left: those of its own share, then others'.
  void TakeParts(int thread);
  // Does what is left of the share of `owner`, and reports it.
  void TakeShare(int owner, int thread);
  // Whether the threads have done `parts_` together.
  bool IsDone() const;
  void WaitUntilDone();

  // One of each for each thread.
  const std::unique_ptr<Mailbox[]> mailboxes_;
  const std::unique_ptr<Progress[]> progress_;
  // The parts of all calls until now; of the caller.
  uint32_t parts_ = 0;
  alignas(kCacheLine) std::atomic<bool> caller_sleeps_ = false;
  std::atomic<uint32_t> reports_ = 0;  // What the caller sleeps on.
  std::atomic<bool> stopping_ = false;
  std::vector<std::thread> workers_;
};

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_CPU_THREAD_TEAM_H_
