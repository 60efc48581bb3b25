#include "worker/group/pulse_watch.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"

namespace phalanx {
namespace {

constexpr absl::Duration kMaxInterval = absl::Milliseconds(500);
// One product of a step of more tokens than this may take longer than the timeout, so such a step
// is given more time, in proportion.
constexpr int kTokensPerTimeout = 64;
// A step may stand still for so many times as long as any before it has, after which it went on.
constexpr int kSlack = 4;

std::string Describe(const RunningStep& step) {
  return absl::StrCat("step ", step.number, " (", step.num_tokens, " tokens)");
}

}  // namespace

PulseWatch::PulseWatch(int world, absl::Duration timeout)
    : timeout_(timeout),
      // At least ten pulses go into a timeout, so a few that are late do not matter.
      interval_(std::clamp(timeout / 10, absl::Milliseconds(1), kMaxInterval)),
      max_turns_(timeout / interval_),
      pulses_(world) {}

void PulseWatch::Joined(int rank) { pulses_[rank].joined = true; }

void PulseWatch::Heard(int rank) { pulses_[rank].silent_turns = 0; }

void PulseWatch::Progressed(int rank, uint64_t progress) {
  if (pulses_[rank].progress != progress) progressed_ = true;
  pulses_[rank].progress = progress;
}

absl::Status PulseWatch::Turn(std::optional<RunningStep> step) {
  if (absl::Status status = CheckSilence(step); !status.ok()) return status;
  return CheckProgress(step);
}

absl::Status PulseWatch::CheckSilence(const std::optional<RunningStep>& step) {
  for (size_t rank = 1; rank < pulses_.size(); ++rank) {
    Pulse& pulse = pulses_[rank];
    if (!pulse.joined || ++pulse.silent_turns <= max_turns_) continue;
    rank_to_blame_ = static_cast<int>(rank);
    return absl::UnavailableError(
        absl::StrCat("rank ", rank, " has not answered for ", absl::FormatDuration(timeout_), ", ",
                     step.has_value() ? absl::StrCat(Describe(*step), " runs") : "no step runs"));
  }
  return absl::OkStatus();
}

absl::Status PulseWatch::CheckProgress(const std::optional<RunningStep>& step) {
  // Only turns that began and ended in the same step count. If no step runs, or a new one has
  // begun, a rank that stands still is not stuck.
  const bool same_step = step.has_value() && step->number == last_step_;
  last_step_ = step.has_value() ? step->number : 0;
  if (!same_step || progressed_) longest_stand_ = std::max(longest_stand_, stuck_turns_);
  stuck_turns_ = same_step && !progressed_ ? stuck_turns_ + 1 : 0;
  progressed_ = false;
  if (stuck_turns_ == 0) return absl::OkStatus();
  const double scale = std::max(1.0, static_cast<double>(step->num_tokens) / kTokensPerTimeout);
  const double limit = std::max(static_cast<double>(max_turns_) * scale,
                                static_cast<double>(kSlack * longest_stand_));
  if (static_cast<double>(stuck_turns_) <= limit) return absl::OkStatus();
  // All ranks stand still, since they wait for each other in every all-reduce. The one that has
  // come least far is the one that the others wait for.
  const auto last =
      std::min_element(pulses_.begin(), pulses_.end(),
                       [](const Pulse& a, const Pulse& b) { return a.progress < b.progress; });
  rank_to_blame_ = static_cast<int>(last - pulses_.begin());
  return absl::UnavailableError(
      absl::StrCat("rank ", last - pulses_.begin(), " has come no further for ",
                   absl::FormatDuration(std::max(timeout_ * scale, interval_ * limit)), " in ",
                   Describe(*step)));
}

absl::Duration PulseWatch::silence() const {
  int64_t turns = 0;
  for (const Pulse& pulse : pulses_) turns = std::max(turns, pulse.silent_turns);
  return interval_ * turns;
}

}  // namespace phalanx
