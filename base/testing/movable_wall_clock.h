// For tests: a wall clock that can be set, once or several times, while the program runs.
#ifndef PHALANX_BASE_TESTING_MOVABLE_WALL_CLOCK_H_
#define PHALANX_BASE_TESTING_MOVABLE_WALL_CLOCK_H_

#include <cstdint>

#include "absl/time/time.h"

extern "C" {
void PhalanxMoveWallClock(int64_t seconds);
int PhalanxWallClockWaits();
int PhalanxTimedWaits();
}

namespace phalanx {

// The wall clock (CLOCK_REALTIME, gettimeofday, time) of this process goes on from `by` later, or
// earlier. Whoever waits for a time of it, by a futex that is called by libc's `syscall`, wakes
// when the clock that was set shows that time, as the kernel would have it. The monotonic clock and
// the machine's clock are left alone. Thread-safe.
//
// A library replaces libc's functions for this. A program that is not linked with it can be started
// under it by LD_PRELOAD; if PHALANX_WALL_CLOCK names a file then, its first eight bytes are the
// seconds by which the clock has moved, a native integer that may be changed at any time.
inline void MoveWallClock(absl::Duration by) { PhalanxMoveWallClock(absl::ToInt64Seconds(by)); }

// How many threads wait for a time of the wall clock.
inline int WallClockWaits() { return PhalanxWallClockWaits(); }

// How many threads wait with a timeout, by whatever clock.
inline int TimedWaits() { return PhalanxTimedWaits(); }

}  // namespace phalanx

#endif  // PHALANX_BASE_TESTING_MOVABLE_WALL_CLOCK_H_
