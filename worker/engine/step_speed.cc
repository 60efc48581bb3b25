#include "worker/engine/step_speed.h"

#include <algorithm>
#include <cmath>

namespace phalanx {

StepSpeed::StepSpeed(int max_step_tokens) : min_tokens_((max_step_tokens + 1) / 2) {}

void StepSpeed::Note(int64_t tokens, absl::Duration time) {
  if (tokens < min_tokens_ || time <= absl::ZeroDuration()) return;
  const double weight = std::exp2(-absl::FDivDuration(time, kHalfLife));
  tokens_ = tokens_ * weight + static_cast<double>(tokens);
  seconds_ = seconds_ * weight + absl::ToDoubleSeconds(time);
  steps_ = std::min(steps_ + 1, kMinSteps);
}

std::optional<double> StepSpeed::TokensPerSecond() const {
  if (steps_ < kMinSteps) return std::nullopt;
  return tokens_ / seconds_;
}

std::optional<absl::Duration> StepSpeed::TimeFor(int64_t tokens) const {
  const std::optional<double> speed = TokensPerSecond();
  if (!speed.has_value()) return std::nullopt;
  return absl::Seconds(static_cast<double>(tokens) / *speed);
}

}  // namespace phalanx
