#include "base/clock.h"

#include <chrono>

namespace phalanx {
namespace {

class SteadyClock final : public Clock {
 public:
  absl::Time Now() const override {
    return absl::UnixEpoch() +
           absl::FromChrono(std::chrono::steady_clock::now().time_since_epoch());
  }
};

}  // namespace

const Clock* MonotonicClock() {
  static const auto* const clock = new SteadyClock;
  return clock;
}

}  // namespace phalanx
