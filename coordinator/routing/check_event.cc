#include "coordinator/routing/check_event.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace phalanx {
namespace {

// The logarithm of a probability is at most 0, but for what rounding may add.
constexpr float kMaxLogProb = 1e-3f;

template <typename... Words>
absl::Status Nonsense(const Words&... words) {
  return absl::InternalError(absl::StrCat("the worker group sent ", words...));
}

absl::Status CheckLogProb(float log_prob) {
  if (std::isfinite(log_prob) && log_prob <= kMaxLogProb) return absl::OkStatus();
  return Nonsense("the log-probability ", log_prob);
}

absl::Status CheckToken(int32_t id, int vocab) {
  if (id >= 0 && id < vocab) return absl::OkStatus();
  return Nonsense("token ", id, ", the vocabulary has ", vocab);
}

absl::Status CheckTokens(const EngineEvent& event, const ExpectedEvents& expected, int vocab) {
  for (const int32_t id : event.token_ids) RETURN_IF_ERROR(CheckToken(id, vocab));
  const auto count = static_cast<int64_t>(event.token_ids.size());
  if (count == 0) return absl::OkStatus();
  if (event.first_token_index != expected.tokens) {
    return Nonsense("token number ", event.first_token_index, " where number ", expected.tokens,
                    " is the next");
  }
  if (expected.tokens + count > expected.max_new_tokens) {
    return Nonsense(expected.tokens + count, " tokens where ", expected.max_new_tokens,
                    " are the most");
  }
  return absl::OkStatus();
}

absl::Status CheckTokenLogProbs(const EngineEvent& event, const ExpectedEvents& expected,
                                int vocab) {
  const size_t wanted = expected.log_probs ? event.token_ids.size() : 0;
  if (event.token_log_probs.size() != wanted) {
    return Nonsense(event.token_log_probs.size(), " log-probabilities of tokens instead of ",
                    wanted);
  }
  for (const TokenLogProbs& log_probs : event.token_log_probs) {
    RETURN_IF_ERROR(CheckLogProb(log_probs.log_prob));
    for (const TokenLogProbs::Token& token : log_probs.top) {
      RETURN_IF_ERROR(CheckToken(token.id, vocab));
      RETURN_IF_ERROR(CheckLogProb(token.log_prob));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckEvent(const EngineEvent& event, const ExpectedEvents& expected, int vocab) {
  RETURN_IF_ERROR(CheckTokens(event, expected, vocab));
  RETURN_IF_ERROR(CheckTokenLogProbs(event, expected, vocab));
  for (const float log_prob : event.log_probs) RETURN_IF_ERROR(CheckLogProb(log_prob));
  if (!expected.score && !event.log_probs.empty()) {
    return Nonsense("scores where tokens were asked for");
  }
  const bool scored =
      event.finished.has_value() && event.finished->reason == EngineFinish::Reason::kScored;
  if (event.finished.has_value() && scored != (expected.max_new_tokens == 0)) {
    return Nonsense("the end of another kind of request");
  }
  return absl::OkStatus();
}

}  // namespace phalanx
