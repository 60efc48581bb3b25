#include "coordinator/routing/reconnect_backoff.h"

#include <algorithm>

namespace phalanx {

ReconnectBackoff::ReconnectBackoff(const Options& options, const Clock* clock)
    : options_(options), clock_(clock), random_(options.seed), next_(options.initial) {}

void ReconnectBackoff::OnConnected() { connected_at_ = clock_->Now(); }

absl::Duration ReconnectBackoff::OnEnded() {
  if (connected_at_.has_value() && clock_->Now() - *connected_at_ >= options_.max) {
    next_ = options_.initial;
  }
  connected_at_.reset();
  const absl::Duration delay = next_;
  next_ = std::min(options_.max, next_ * options_.factor);
  std::uniform_real_distribution<double> jitter(1.0 - options_.jitter, 1.0 + options_.jitter);
  return delay * jitter(random_);
}

}  // namespace phalanx
