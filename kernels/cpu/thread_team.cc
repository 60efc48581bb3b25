#include "kernels/cpu/thread_team.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <utility>

namespace phalanx::kernels {
namespace {

// Longer than the gaps between the ops of one step, far shorter than a wait for the next request.
constexpr int kSpins = 2000;
// More than one, so that others can take over from a thread that gets less processor time.
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

// A system that refuses has its reasons, and a thread that runs elsewhere computes the same.
void KeepThisThreadTo(absl::Span<const int> cpus) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int cpu : cpus) {
    if (cpu >= 0 && cpu < CPU_SETSIZE) CPU_SET(cpu, &set);
  }
  if (CPU_COUNT(&set) == 0) return;
  pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
}

// Returns once `value` is no longer `old`; what was written before the change is then visible.
void WaitWhile(const std::atomic<uint32_t>& value, uint32_t old) {
  for (int i = 0; i < kSpins; ++i) {
    if (value.load(std::memory_order_acquire) != old) return;
    Pause();
  }
  value.wait(old, std::memory_order_acquire);
}

// Takes the first part of a share, or the last one. False if none is left.
//
// The exchange may find the same bits as before although the share was used up and filled again
// meanwhile, by the next call. That does no harm: the part is then one of that call, and what it is
// a part of is read after it was taken.
bool TakePart(std::atomic<uint64_t>& share, bool first, uint32_t& part) {
  uint64_t open = share.load(std::memory_order_acquire);
  for (;;) {
    const auto begin = static_cast<uint32_t>(open);
    const auto end = static_cast<uint32_t>(open >> 32);
    if (begin == end) return false;
    part = first ? begin : end - 1;
    const uint64_t left = first ? open + 1 : open - (uint64_t{1} << 32);
    if (share.compare_exchange_weak(open, left, std::memory_order_acq_rel,
                                    std::memory_order_acquire)) {
      return true;
    }
  }
}

}  // namespace

ThreadTeam::ThreadTeam(int num_threads, absl::Span<const std::vector<int>> cpus)
    : shares_(new PaddedShare[num_threads]) {
  workers_.reserve(num_threads - 1);
  for (int i = 1; i < num_threads; ++i) {
    std::vector<int> own;
    if (i < static_cast<int>(cpus.size())) own = cpus[i];
    workers_.emplace_back([this, i, own = std::move(own)] {
      KeepThisThreadTo(own);
      Work(i);
    });
  }
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
  // this one can be taken before the shares are stored, which publishes them.
  task_ = &task;
  num_parts_ = num_parts;
  done_.store(0, std::memory_order_relaxed);
  // Rounded up, so that the caller, which need not be woken, has the first part of few.
  const uint64_t threads = num_threads();
  const auto first_of = [&](uint64_t thread) {
    return (thread * num_parts + threads - 1) / threads;
  };
  for (uint64_t t = 0; t < threads; ++t) {
    shares_[t].share.store(first_of(t + 1) << 32 | first_of(t), std::memory_order_release);
  }
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
  const int threads = num_threads();
  uint32_t taken = 0;
  uint32_t num_parts = 0;
  for (int i = 0; i < threads; ++i) {
    const bool is_own = i == 0;
    Share& share = shares_[(thread + i) % threads].share;
    for (uint32_t part = 0; TakePart(share, /*first=*/is_own, part); ++taken) {
      // Read only now that a part is taken: until it is done, Run waits and leaves these as they
      // are.
      num_parts = num_parts_;
      (*task_)(part, thread);
    }
  }
  if (taken == 0) return;
  if (done_.fetch_add(taken, std::memory_order_acq_rel) + taken == num_parts) done_.notify_one();
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
