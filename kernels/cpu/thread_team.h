// A fixed team of threads that all run the same function at the same time.
#ifndef PHALANX_KERNELS_CPU_THREAD_TEAM_H_
#define PHALANX_KERNELS_CPU_THREAD_TEAM_H_

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

#include "absl/functional/function_ref.h"

namespace phalanx::kernels {

// Calls come from one thread, which takes part as thread 0. Between calls the others spin for some
// ten microseconds and then sleep.
class ThreadTeam {
 public:
  // Starts num_threads - 1 threads; num_threads is at least 1.
  explicit ThreadTeam(int num_threads);
  ThreadTeam(const ThreadTeam&) = delete;
  ThreadTeam& operator=(const ThreadTeam&) = delete;
  ~ThreadTeam();

  int num_threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls task(thread) once for each thread in [0, num_threads); returns when all have returned.
  void Run(absl::FunctionRef<void(int thread)> task);

  // Cuts [0, n) into one part for each thread, the same at every call, with borders at multiples
  // of `grain`, and calls task(begin, end) for each part that is not empty.
  void ParallelFor(int64_t n, int64_t grain,
                   absl::FunctionRef<void(int64_t begin, int64_t end)> task);

 private:
  void Work(int thread);

  // The call in progress; null tells the workers to stop. Published by `calls_`.
  const absl::FunctionRef<void(int)>* task_ = nullptr;
  std::atomic<uint32_t> calls_ = 0;    // Wraps around.
  std::atomic<uint32_t> running_ = 0;  // Workers still in the call.
  std::vector<std::thread> workers_;
};

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_CPU_THREAD_TEAM_H_
