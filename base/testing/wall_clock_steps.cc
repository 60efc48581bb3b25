#include "base/testing/wall_clock_steps.h"

#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>

namespace phalanx {
namespace {

// Seconds by which the clock moves at each look, and by which it has moved.
std::atomic<int64_t> step_seconds{0};
std::atomic<int64_t> offset_seconds{0};

timespec LookAtWallClock() {
  timespec now{};
  syscall(SYS_clock_gettime, CLOCK_REALTIME, &now);
  now.tv_sec += offset_seconds += step_seconds;
  return now;
}

}  // namespace

WallClockSteps::WallClockSteps(absl::Duration step) { step_seconds = absl::ToInt64Seconds(step); }

WallClockSteps::~WallClockSteps() {
  step_seconds = 0;
  offset_seconds = 0;
}

}  // namespace phalanx

// These take the place of libc's functions, for this program and the libraries that it has loaded.
extern "C" {

int clock_gettime(clockid_t clock, timespec* time) noexcept {
  if (clock != CLOCK_REALTIME) {
    return static_cast<int>(syscall(SYS_clock_gettime, clock, time));
  }
  *time = phalanx::LookAtWallClock();
  return 0;
}

int gettimeofday(timeval* __restrict time, void* __restrict) noexcept {
  const timespec now = phalanx::LookAtWallClock();
  *time = {.tv_sec = now.tv_sec, .tv_usec = now.tv_nsec / 1000};
  return 0;
}

time_t time(time_t* result) noexcept {
  const time_t now = phalanx::LookAtWallClock().tv_sec;
  if (result != nullptr) *result = now;
  return now;
}

}  // extern "C"
