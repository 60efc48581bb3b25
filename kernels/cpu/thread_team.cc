#include "kernels/cpu/thread_team.h"

#include <algorithm>

namespace phalanx::kernels {
namespace {

// Longer than the gaps between the ops of one step, far shorter than a wait for the next request.
constexpr int kSpins = 2000;
// More than one, so that a thread that runs less takes fewer.
constexpr int64_t kPartsPerThread = 4;

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
  for (int i = 1; i < num_threads; ++i) workers_.emplace_back([this] { Work(); });
}

ThreadTeam::~ThreadTeam() {
  stopping_.store(true, std::memory_order_relaxed);
  calls_.fetch_add(1, std::memory_order_release);
  calls_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadTeam::Run(uint32_t num_parts, absl::FunctionRef<void(uint32_t part)> task) {
  if (workers_.empty() || num_parts <= 1) {
    for (uint32_t part = 0; part < num_parts; ++part) task(part);
    return;
  }
  task_ = &task;
  num_parts_ = num_parts;
  done_.store(0, std::memory_order_relaxed);
  const uint64_t call = (open_.load(std::memory_order_relaxed) >> 32) + 1;
  open_.store(call << 32 | num_parts, std::memory_order_release);
  calls_.fetch_add(1, std::memory_order_release);
  calls_.notify_all();
  TakeParts();
  for (uint32_t done; (done = done_.load(std::memory_order_acquire)) != num_parts;) {
    WaitWhile(done_, done);
  }
}

void ThreadTeam::ParallelFor(int64_t n, int64_t grain,
                             absl::FunctionRef<void(int64_t begin, int64_t end)> task) {
  const int64_t grains = (n + grain - 1) / grain;
  const int64_t parts = std::min(grains, int64_t{num_threads()} * kPartsPerThread);
  if (parts <= 1 || workers_.empty()) {
    if (n > 0) task(0, n);
    return;
  }
  Run(static_cast<uint32_t>(parts), [&](uint32_t part) {
    task(grains * part / parts * grain, std::min(n, grains * (part + 1) / parts * grain));
  });
}

void ThreadTeam::TakeParts() {
  uint64_t open = open_.load(std::memory_order_acquire);
  while (static_cast<uint32_t>(open) != 0) {
    // Fails if the call is over, too: then the upper half has changed or nothing is left.
    if (!open_.compare_exchange_weak(open, open - 1, std::memory_order_acq_rel,
                                     std::memory_order_acquire)) {
      continue;
    }
    const uint32_t num_parts = num_parts_;
    (*task_)(num_parts - static_cast<uint32_t>(open));
    if (done_.fetch_add(1, std::memory_order_acq_rel) + 1 == num_parts) done_.notify_one();
    open = open_.load(std::memory_order_acquire);
  }
}

void ThreadTeam::Work() {
  for (uint32_t seen = 0;;) {
    WaitWhile(calls_, seen);
    seen = calls_.load(std::memory_order_acquire);
    if (stopping_.load(std::memory_order_relaxed)) return;
    TakeParts();
  }
}

}  // namespace phalanx::kernels
