#include "coordinator/routing/check_event.h"

#include <cmath>

#include "absl/strings/str_cat.h"

namespace phalanx {
namespace {

// The logarithm of a probability is at most 0, but for what rounding may add.
constexpr float kMaxLogProb = 1e-3f;

template <typename... Words>
absl::Status Nonsense(const Words&... words) {
  return absl::InternalError(absl::StrCat("the worker group sent ", words...));
}

}  // namespace

absl::Status CheckEvent(const EngineEvent& event, bool score, int vocab) {
  for (const int32_t id : event.token_ids) {
    if (id >= 0 && id < vocab) continue;
    return Nonsense("token ", id, ", the vocabulary has ", vocab);
  }
  for (const float log_prob : event.log_probs) {
    if (std::isfinite(log_prob) && log_prob <= kMaxLogProb) continue;
    return Nonsense("the log-probability ", log_prob);
  }
  if (score && !event.token_ids.empty()) return Nonsense("tokens where scores were asked for");
  if (!score && !event.log_probs.empty()) return Nonsense("scores where tokens were asked for");
  const bool scored =
      event.finished.has_value() && event.finished->reason == EngineFinish::Reason::kScored;
  if (event.finished.has_value() && scored != score) {
    return Nonsense("the end of another kind of request");
  }
  return absl::OkStatus();
}

}  // namespace phalanx
