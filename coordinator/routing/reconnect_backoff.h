// How long to wait before a lost connection is tried again.
#ifndef PHALANX_COORDINATOR_ROUTING_RECONNECT_BACKOFF_H_
#define PHALANX_COORDINATOR_ROUTING_RECONNECT_BACKOFF_H_

#include <cstdint>
#include <optional>
#include <random>

#include "absl/time/time.h"
#include "base/clock.h"

namespace phalanx {

// Waits grow exponentially, with jitter so that coordinators do not all return to a restarted group
// at once. Thread-compatible.
class ReconnectBackoff {
 public:
  struct Options {
    absl::Duration initial = absl::Milliseconds(100);
    absl::Duration max = absl::Seconds(5);
    double factor = 2.0;
    // Each delay is multiplied by a random number in [1 - jitter, 1 + jitter].
    double jitter = 0.2;
    uint64_t seed = 0;
  };

  // `clock` must outlive the object.
  ReconnectBackoff(const Options& options, const Clock* clock);

  // To be called when the connection is up.
  void OnConnected();

  // To be called when the connection, or an attempt at one, has ended. Returns the time to wait
  // before the next attempt. After a connection that lasted for `max` the waits begin at `initial`
  // again. After one that broke sooner they do not, so that a group that says Hello and dies is not
  // tried again and again without a pause.
  absl::Duration OnEnded();

 private:
  const Options options_;
  const Clock* const clock_;
  std::mt19937_64 random_;
  absl::Duration next_;
  std::optional<absl::Time> connected_at_;
};

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_ROUTING_RECONNECT_BACKOFF_H_
