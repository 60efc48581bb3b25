// Checks whether what a worker group says makes sense.
#ifndef PHALANX_COORDINATOR_ROUTING_CHECK_EVENT_H_
#define PHALANX_COORDINATOR_ROUTING_CHECK_EVENT_H_

#include "absl/status/status.h"
#include "coordinator/routing/group_session.h"

namespace phalanx {

// What may still come for one request, from the group that it is with.
struct ExpectedEvents {
  // Whether the prompt's tokens are scored.
  bool score = false;
  // Whether it is told how likely each generated token was.
  bool log_probs = false;
  int max_new_tokens = 0;
  // Tokens that have come.
  int tokens = 0;
};

// INTERNAL, with a text for the public, if the event cannot be the next one of such a request: a
// token id outside [0, vocab), a number that cannot be a log-probability, tokens that leave a gap
// or come again or are more than max_new_tokens, what was not asked for, or the end of another kind
// of request. Errors that the group reports are fine.
absl::Status CheckEvent(const EngineEvent& event, const ExpectedEvents& expected, int vocab);

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_ROUTING_CHECK_EVENT_H_
