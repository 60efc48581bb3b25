// How many tokens steps compute in a second, measured on those of late.
#ifndef PHALANX_WORKER_ENGINE_STEP_SPEED_H_
#define PHALANX_WORKER_ENGINE_STEP_SPEED_H_

#include <cstdint>
#include <optional>

#include "absl/time/time.h"

namespace phalanx {

// Only steps that are at least half full count. A step with a few decodes takes hardly less time
// than one with many tokens of prompts, so its speed says nothing about prompts. Each measurement
// weighs half as much as one that came kHalfLife of step time later. Thread-compatible.
class StepSpeed {
 public:
  static constexpr absl::Duration kHalfLife = absl::Seconds(10);
  // Before that many steps have been measured, nothing is known: the first ones may be slow.
  static constexpr int kMinSteps = 8;

  // A full step has `max_step_tokens`.
  explicit StepSpeed(int max_step_tokens);

  // A step has computed that many tokens in that time.
  void Note(int64_t tokens, absl::Duration time);

  // Nothing if too few steps have been measured.
  std::optional<double> TokensPerSecond() const;

  // How long so many tokens take, if nothing else is computed meanwhile.
  std::optional<absl::Duration> TimeFor(int64_t tokens) const;

 private:
  const int64_t min_tokens_;
  int steps_ = 0;
  // Of all steps that count, by their weights.
  double tokens_ = 0;
  double seconds_ = 0;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_ENGINE_STEP_SPEED_H_
