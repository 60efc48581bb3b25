#include "kernels/cpu/thread_team.h"

#include <algorithm>

namespace phalanx::kernels {
namespace {

// Longer than the gaps between the ops of one step, far shorter than a wait for the next request.
constexpr int kSpins = 2000;

void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Returns once `value` is no longer `old`; what was written before the change is then visible.
void WaitWhile(const std::atomic<uint32_t>& value, uint32_t old) {
  for (int i = 0; i < kSpins; ++i) {
    if (value.load(std::memory_order_acquire) != old) return;
    Pause();
  }
  value.wait(old, std::memory_order_acquire);
}

}  // namespace

ThreadTeam::ThreadTeam(int num_threads) {
  workers_.reserve(num_threads - 1);
  for (int i = 1; i < num_threads; ++i) workers_.emplace_back([this, i] { Work(i); });
}

ThreadTeam::~ThreadTeam() {
  task_ = nullptr;
  calls_.fetch_add(1, std::memory_order_release);
  calls_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadTeam::Run(absl::FunctionRef<void(int thread)> task) {
  if (!workers_.empty()) {
    task_ = &task;
    running_.store(static_cast<uint32_t>(workers_.size()), std::memory_order_relaxed);
    calls_.fetch_add(1, std::memory_order_release);
    calls_.notify_all();
  }
  task(0);
  for (uint32_t left; (left = running_.load(std::memory_order_acquire)) != 0;)
    WaitWhile(running_, left);
}

void ThreadTeam::ParallelFor(int64_t n, int64_t grain,
                             absl::FunctionRef<void(int64_t begin, int64_t end)> task) {
  const int64_t grains = (n + grain - 1) / grain;
  const int64_t threads = num_threads();
  if (grains <= 1 || threads == 1) {
    if (n > 0) task(0, n);
    return;
  }
  Run([&](int thread) {
    const int64_t begin = grains * thread / threads * grain;
    const int64_t end = std::min(n, grains * (thread + 1) / threads * grain);
    if (begin < end) task(begin, end);
  });
}

void ThreadTeam::Work(int thread) {
  for (uint32_t seen = 0;; ++seen) {
    WaitWhile(calls_, seen);
    if (task_ == nullptr) return;
    (*task_)(thread);
    if (running_.fetch_sub(1, std::memory_order_acq_rel) == 1) running_.notify_one();
  }
}

}  // namespace phalanx::kernels
