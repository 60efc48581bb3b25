#include "kernels/cpu/thread_team.h"

#include <algorithm>

namespace phalanx::kernels {
namespace {

// Longer than the gaps between the ops of one step, far shorter than a wait for the next request.
constexpr int kSpins = 2000;
// More than one, so that a thread that gets less processor time than the others takes fewer parts.
constexpr int64_t kPartsPerThread = 4;

// Tells the processor that this is a waiting loop: it saves power and leaves more to the other
// thread of the core.
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
  // The release of calls_ publishes stopping_ as well.
  stopping_.store(true, std::memory_order_relaxed);
  calls_.fetch_add(1, std::memory_order_release);
  calls_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadTeam::Run(uint32_t num_parts, absl::FunctionRef<void(uint32_t part)> task) {
  RunOnThreads(num_parts, [&](uint32_t part, int) { task(part); });
}

void ThreadTeam::RunOnThreads(uint32_t num_parts,
                              absl::FunctionRef<void(uint32_t part, int thread)> task) {
  if (workers_.empty() || num_parts <= 1) {
    for (uint32_t part = 0; part < num_parts; ++part) task(part, 0);
    return;
  }
  // Plain writes: no worker reads these now, since all parts of the last call are done and none of
  // this one can be taken before open_ is stored, which publishes them.
  task_ = &task;
  num_parts_ = num_parts;
  done_.store(0, std::memory_order_relaxed);
  const uint64_t call = (open_.load(std::memory_order_relaxed) >> 32) + 1;
  open_.store(call << 32 | num_parts, std::memory_order_release);
  // Workers wait for calls_ and not for open_: it has 32 bits, which is what the kernel can wait
  // for.
  calls_.fetch_add(1, std::memory_order_release);
  calls_.notify_all();
  TakeParts(/*thread=*/0);
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
  // Part p covers the grains from grains * p / parts to grains * (p + 1) / parts, rounded down:
  // parts differ by at most one grain, and none is empty because there are no more parts than
  // grains.
  Run(static_cast<uint32_t>(parts), [&](uint32_t part) {
    task(grains * part / parts * grain, std::min(n, grains * (part + 1) / parts * grain));
  });
}

void ThreadTeam::TakeParts(int thread) {
  uint64_t open = open_.load(std::memory_order_acquire);
  while (static_cast<uint32_t>(open) != 0) {
    // Takes a part by counting down. A worker that comes late, with an `open` of an earlier call,
    // cannot take a part of this one by mistake: the number of the call differs, and the exchange
    // fails.
    if (!open_.compare_exchange_weak(open, open - 1, std::memory_order_acq_rel,
                                     std::memory_order_acquire)) {
      continue;
    }
    // Read only now that a part is taken: until it is done, Run waits and leaves these as they are.
    const uint32_t num_parts = num_parts_;
    (*task_)(num_parts - static_cast<uint32_t>(open), thread);
    if (done_.fetch_add(1, std::memory_order_acq_rel) + 1 == num_parts) done_.notify_one();
    open = open_.load(std::memory_order_acquire);
  }
}

void ThreadTeam::Work(int thread) {
  for (uint32_t seen = 0;;) {
    // A worker that sleeps through several calls sees the last number only, and joins the call that
    // is open. Run does not depend on it: it waits for parts, not for threads.
    WaitWhile(calls_, seen);
    seen = calls_.load(std::memory_order_acquire);
    if (stopping_.load(std::memory_order_relaxed)) return;
    TakeParts(thread);
  }
}

}  // namespace phalanx::kernels
