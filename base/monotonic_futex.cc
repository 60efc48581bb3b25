// Makes waits of Abseil, and so gRPC's timers, indifferent to the setting of the wall clock.
//
// A wait with a timeout in Debian's Abseil ends at a time of the wall clock, by a futex with
// FUTEX_CLOCK_REALTIME. If that clock is set back by an hour meanwhile, it ends an hour late. gRPC
// 1.51 waits so for its next timer, with all deadlines, alarms, keepalives and reconnects behind
// it, and a timer that is set anew does not wake it once one is overdue.
//
// Abseil reaches the futex by libc's function `syscall`. Here is one in its place, for the program
// that links this and for all its libraries: when such a wait begins, its end is converted to the
// monotonic clock, and a signal does not end it. Every other system call is passed on as it is.
//
// A clock that is set back between the computation of a deadline and the begin of the wait makes
// the wait look long. So for seconds after, one that would last for as long as the clock was set
// back, or more, is shortened by that: it may end early, which gRPC does not mind.
//
// Not covered: libc's own waits for a time of the wall clock (pthread_cond_timedwait), which nobody
// here uses (see base/mutex.h).
#include <dlfcn.h>
#include <linux/futex.h>
#include <stdarg.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <limits>

namespace {

using Syscall = long (*)(long, ...);

constexpr int64_t kNanosPerSecond = 1'000'000'000;
// Smaller steps back are ignored: no wait lasts longer by more than that.
constexpr int64_t kStepNanos = 2 * kNanosPerSecond;
// For how long after a step back a deadline may come that was computed before it. gRPC's timers
// wait for a second at most.
constexpr int64_t kDoubtNanos = 5 * kNanosPerSecond;
// By how much such a deadline may be in the past.
constexpr int64_t kLateNanos = kNanosPerSecond;

// Not a static of a function, whose guard may wait by calling `syscall`.
constinit std::atomic<Syscall> next_syscall{nullptr};

Syscall NextSyscall() {
  Syscall next = next_syscall.load(std::memory_order_relaxed);
  if (next == nullptr) {
    next = reinterpret_cast<Syscall>(dlsym(RTLD_NEXT, "syscall"));
    next_syscall.store(next, std::memory_order_relaxed);
  }
  return next;
}

// Called at start, because dlsym must not be called in signal handlers, and syscall may be.
__attribute__((constructor)) void FindNextSyscall() { NextSyscall(); }

bool EndsByWallClock(long operation, const timespec* deadline) {
  return (operation & FUTEX_CMD_MASK) == FUTEX_WAIT_BITSET &&
         (operation & FUTEX_CLOCK_REALTIME) != 0 && deadline != nullptr && deadline->tv_nsec >= 0 &&
         deadline->tv_nsec < kNanosPerSecond;
}

int64_t ToNanos(const timespec& time) {
  constexpr int64_t kMostSeconds = std::numeric_limits<int64_t>::max() / kNanosPerSecond - 1;
  return std::clamp<int64_t>(time.tv_sec, 0, kMostSeconds) * kNanosPerSecond + time.tv_nsec;
}

int64_t Now(clockid_t clock) {
  timespec now;
  clock_gettime(clock, &now);
  return ToNanos(now);
}

// The wall clock less the monotonic clock when they were last looked at.
constinit std::atomic<int64_t> last_offset{std::numeric_limits<int64_t>::min()};
// The last time that the wall clock was set back: when, by the monotonic clock, and by how much.
constinit std::atomic<int64_t> set_back_at{0};
constinit std::atomic<int64_t> set_back_by{0};

// By how much the wall clock was set back a moment ago; 0 if it was not.
int64_t SetBackJustNow(int64_t wall, int64_t monotonic) {
  const int64_t offset = wall - monotonic;
  const int64_t before = last_offset.exchange(offset);
  if (before >= offset + kStepNanos) {
    set_back_at = monotonic;
    set_back_by = before - offset;
  }
  const int64_t by = set_back_by;
  return monotonic - set_back_at < kDoubtNanos ? by : 0;
}

timespec ToMonotonic(const timespec& deadline) {
  const int64_t wall = Now(CLOCK_REALTIME);
  const int64_t monotonic = Now(CLOCK_MONOTONIC);
  int64_t left = ToNanos(deadline) - wall;
  const int64_t set_back = SetBackJustNow(wall, monotonic);
  if (set_back > 0 && left > set_back - kLateNanos) left -= set_back;
  const int64_t end = monotonic + std::max<int64_t>(left, 0);
  return {.tv_sec = end / kNanosPerSecond, .tv_nsec = end % kNanosPerSecond};
}

}  // namespace

// Takes all six arguments, whether they were given or not, as libc's does. AddressSanitizer may
// object to reading the last ones.
extern "C" __attribute__((no_sanitize("address"))) long syscall(long number, ...) noexcept {
  long arguments[6];
  va_list list;
  va_start(list, number);
  for (auto& argument : arguments) argument = va_arg(list, long);
  va_end(list);
  const auto& [address, operation, value, timeout, address2, bits] = arguments;
  const auto* const deadline = reinterpret_cast<const timespec*>(timeout);
  if (number != SYS_futex || !EndsByWallClock(operation, deadline)) {
    return NextSyscall()(number, address, operation, value, timeout, address2, bits);
  }
  const timespec monotonic = ToMonotonic(*deadline);
  while (true) {
    const long result = NextSyscall()(number, address, operation & ~FUTEX_CLOCK_REALTIME, value,
                                      &monotonic, address2, bits);
    if (result != -1 || errno != EINTR) return result;
  }
}
