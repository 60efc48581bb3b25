// Time as an argument, so that tests need not wait for it.
#ifndef PHALANX_BASE_CLOCK_H_
#define PHALANX_BASE_CLOCK_H_

#include "absl/time/time.h"

namespace phalanx {

// Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;

  // Never goes backwards. Only differences mean something: the zero is arbitrary.
  virtual absl::Time Now() const = 0;
};

// The machine's monotonic clock. Never destroyed.
const Clock* MonotonicClock();

}  // namespace phalanx

#endif  // PHALANX_BASE_CLOCK_H_
