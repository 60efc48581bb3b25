#include "kernels/cpu/thread_team.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <utility>

namespace phalanx::kernels {
namespace {

// Longer than the gaps between the ops of one step, far shorter than a wait for the next request.
constexpr int kSpins = 2000;

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
    : mailboxes_(new Mailbox[num_threads]), progress_(new Progress[num_threads]) {
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
  // The release of each `calls` publishes stopping_ as well.
  stopping_.store(true, std::memory_order_relaxed);
  for (int t = 1; t < num_threads(); ++t) {
    mailboxes_[t].calls.fetch_add(1, std::memory_order_release);
    mailboxes_[t].calls.notify_one();
  }
  for (std::thread& worker : workers_) worker.join();
}

void ThreadTeam::RunJob(const Job& job) {
  if (workers_.empty() || job.num_parts <= 1) {
    for (uint32_t part = 0; part < job.num_parts; ++part) job.run_part(job, part, /*thread=*/0);
    return;
  }
  parts_ += job.num_parts;
  const uint64_t threads = num_threads();
  // Rounded up, so that the caller, which need not be woken, has the first part of few.
  const auto first_of = [&](uint64_t thread) {
    return (thread * job.num_parts + threads - 1) / threads;
  };
  for (uint64_t t = 0; t < threads; ++t) {
    // A plain write: nobody reads the job now, since all parts of the last call are done and none
    // of this one can be taken before the share is stored.
    mailboxes_[t].job = job;
    mailboxes_[t].share.store(first_of(t + 1) << 32 | first_of(t), std::memory_order_release);
  }
  for (uint64_t t = 1; t < threads; ++t) {
    mailboxes_[t].calls.fetch_add(1, std::memory_order_release);
    mailboxes_[t].calls.notify_one();
  }
  TakeParts(/*thread=*/0);
  WaitUntilDone();
}

void ThreadTeam::TakeParts(int thread) {
  const int threads = num_threads();
  for (int i = 0; i < threads; ++i) TakeShare((thread + i) % threads, thread);
}

void ThreadTeam::TakeShare(int owner, int thread) {
  Mailbox& mailbox = mailboxes_[owner];
  uint32_t taken = 0;
  for (uint32_t part = 0; TakePart(mailbox.share, /*first=*/owner == thread, part); ++taken) {
    // Read only now that a part is taken: until it is done, the caller waits and leaves the job as
    // it is.
    mailbox.job.run_part(mailbox.job, part, thread);
  }
  if (taken == 0) return;
  // Either the caller sees what is done here, or this sees that the caller sleeps.
  progress_[thread].done.fetch_add(taken, std::memory_order_seq_cst);
  if (caller_sleeps_.load(std::memory_order_seq_cst)) {
    reports_.fetch_add(1, std::memory_order_release);
    reports_.notify_one();
  }
}

bool ThreadTeam::IsDone() const {
  uint32_t done = 0;
  for (int t = 0; t < num_threads(); ++t) {
    done += progress_[t].done.load(std::memory_order_seq_cst);
  }
  return done == parts_;
}

void ThreadTeam::WaitUntilDone() {
  for (int i = 0; i < kSpins; ++i) {
    if (IsDone()) return;
    Pause();
  }
  caller_sleeps_.store(true, std::memory_order_seq_cst);
  for (;;) {
    const uint32_t seen = reports_.load(std::memory_order_acquire);
    if (IsDone()) break;
    reports_.wait(seen, std::memory_order_acquire);
  }
  caller_sleeps_.store(false, std::memory_order_relaxed);
}

void ThreadTeam::Work(int thread) {
  for (uint32_t seen = 0;;) {
    // A worker that sleeps through several calls sees the last number only, and joins the call that
    // is open. The caller does not depend on it: it waits for parts, not for threads.
    const std::atomic<uint32_t>& calls = mailboxes_[thread].calls;
    WaitWhile(calls, seen);
    seen = calls.load(std::memory_order_acquire);
    if (stopping_.load(std::memory_order_relaxed)) return;
    TakeParts(thread);
  }
}

}  // namespace phalanx::kernels
