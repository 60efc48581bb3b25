// A clock that is passed as an argument, so that tests need not wait for time to pass.
#ifndef PHALANX_BASE_CLOCK_H_
#define PHALANX_BASE_CLOCK_H_

#include "absl/time/time.h"

namespace phalanx {

// Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;

  // Never goes backwards. Only differences mean something, since it counts from any moment.
  virtual absl::Time Now() const = 0;
};

// The machine's monotonic clock. Never destroyed.
const Clock* MonotonicClock();

}  // namespace phalanx

#endif  // PHALANX_BASE_CLOCK_H_
