#include "base/testing/movable_wall_clock.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>

namespace {

using Syscall = long (*)(long, ...);
using ClockGettime = int (*)(clockid_t, timespec*);

constexpr int64_t kNanosPerSecond = 1'000'000'000;
// How often a wait by the wall clock looks whether the clock was set.
constexpr int64_t kLookNanos = 1'000'000;

constinit std::atomic<int64_t> own_offset{0};
constinit std::atomic<std::atomic<int64_t>*> offset_seconds{&own_offset};
constinit std::atomic<int> wall_clock_waits{0};
constinit std::atomic<int> timed_waits{0};

// Libc's functions, looked up when they are needed. Not statics of a function, whose guard would
// wait.
template <typename Function>
Function Libc(std::atomic<Function>& found, const char* name) {
  Function function = found.load(std::memory_order_relaxed);
  if (function == nullptr) {
    function = reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
    found.store(function, std::memory_order_relaxed);
  }
  return function;
}
constinit std::atomic<Syscall> libc_syscall{nullptr};
constinit std::atomic<ClockGettime> libc_clock_gettime{nullptr};

timespec Now(clockid_t clock) {
  timespec now{};
  Libc(libc_clock_gettime, "clock_gettime")(clock, &now);
  if (clock == CLOCK_REALTIME) now.tv_sec += *offset_seconds.load();
  return now;
}

int64_t ToNanos(const timespec& time) { return time.tv_sec * kNanosPerSecond + time.tv_nsec; }

timespec ToTimespec(int64_t nanos) { return {nanos / kNanosPerSecond, nanos % kNanosPerSecond}; }

__attribute__((constructor)) void MapFile() {
  // No thread has been started yet.
  const char* const path = getenv("PHALANX_WALL_CLOCK");  // NOLINT(concurrency-mt-unsafe)
  if (path == nullptr) return;
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) abort();
  void* const mapped = mmap(nullptr, sizeof(int64_t), PROT_READ, MAP_SHARED, fd, 0);
  close(fd);
  if (mapped == MAP_FAILED) abort();
  offset_seconds = static_cast<std::atomic<int64_t>*>(mapped);
}

// A futex wait with these arguments; the time is the wall clock's.
long WaitForWallClock(const long (&arguments)[6]) {
  const auto& [address, operation, value, timeout, address2, bits] = arguments;
  const int64_t deadline = ToNanos(*reinterpret_cast<const timespec*>(timeout));
  ++wall_clock_waits;
  long result = 0;
  while (true) {
    const int64_t left = deadline - ToNanos(Now(CLOCK_REALTIME));
    const int64_t slice = std::clamp(left, int64_t{0}, kLookNanos);
    const timespec end = ToTimespec(ToNanos(Now(CLOCK_MONOTONIC)) + slice);
    result = Libc(libc_syscall, "syscall")(SYS_futex, address, operation & ~FUTEX_CLOCK_REALTIME,
                                           value, &end, address2, bits);
    if (result != -1 || errno != ETIMEDOUT || left <= slice) break;
  }
  --wall_clock_waits;
  return result;
}

}  // namespace

extern "C" {

void PhalanxMoveWallClock(int64_t seconds) { *offset_seconds.load() += seconds; }

int PhalanxWallClockWaits() { return wall_clock_waits; }

int PhalanxTimedWaits() { return timed_waits; }

// These take the place of libc's functions, for this program and the libraries that it has loaded.

int clock_gettime(clockid_t clock, timespec* time) noexcept {
  const int result = Libc(libc_clock_gettime, "clock_gettime")(clock, time);
  if (result == 0 && clock == CLOCK_REALTIME) time->tv_sec += *offset_seconds.load();
  return result;
}

int gettimeofday(timeval* __restrict time, void* __restrict) noexcept {
  const timespec now = Now(CLOCK_REALTIME);
  *time = {.tv_sec = now.tv_sec, .tv_usec = now.tv_nsec / 1000};
  return 0;
}

time_t time(time_t* result) noexcept {
  const time_t now = Now(CLOCK_REALTIME).tv_sec;
  if (result != nullptr) *result = now;
  return now;
}

__attribute__((no_sanitize("address"))) long syscall(long number, ...) noexcept {
  long arguments[6];
  va_list list;
  va_start(list, number);
  for (long& argument : arguments) argument = va_arg(list, long);
  va_end(list);
  const auto& [address, operation, value, timeout, address2, bits] = arguments;
  const Syscall libc = Libc(libc_syscall, "syscall");
  const bool is_timed_wait =
      number == SYS_futex && timeout != 0 && (operation & FUTEX_CMD_MASK) == FUTEX_WAIT_BITSET;
  if (!is_timed_wait) return libc(number, address, operation, value, timeout, address2, bits);
  ++timed_waits;
  const long result = (operation & FUTEX_CLOCK_REALTIME) != 0
                          ? WaitForWallClock(arguments)
                          : libc(number, address, operation, value, timeout, address2, bits);
  --timed_waits;
  return result;
}

}  // extern "C"
