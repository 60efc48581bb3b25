// For tests: a wall clock that is being set while the program runs.
#ifndef PHALANX_BASE_TESTING_WALL_CLOCK_STEPS_H_
#define PHALANX_BASE_TESTING_WALL_CLOCK_STEPS_H_

#include "absl/time/time.h"

namespace phalanx {

// While it lives, whoever in this process looks at the wall clock (CLOCK_REALTIME, gettimeofday,
// time) finds it `step` further on than at the look before; `step` may be negative. The monotonic
// clock is left alone. Linking this replaces libc's functions, so only tests may. One at a time.
class WallClockSteps {
 public:
  explicit WallClockSteps(absl::Duration step);
  WallClockSteps(const WallClockSteps&) = delete;
  WallClockSteps& operator=(const WallClockSteps&) = delete;
  ~WallClockSteps();
};

}  // namespace phalanx

#endif  // PHALANX_BASE_TESTING_WALL_CLOCK_STEPS_H_
