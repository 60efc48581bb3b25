// Checks whether what a worker group says makes sense.
#ifndef PHALANX_COORDINATOR_ROUTING_CHECK_EVENT_H_
#define PHALANX_COORDINATOR_ROUTING_CHECK_EVENT_H_

#include "absl/status/status.h"
#include "coordinator/routing/group_session.h"

namespace phalanx {

// INTERNAL, with a text for the public, if the event cannot be the answer to a request that was to
// score (`score`) or to generate: a token id outside [0, vocab), a number that cannot be a
// log-probability, or the answer or finish of the other kind of request. Errors that the group
// reports are fine.
absl::Status CheckEvent(const EngineEvent& event, bool score, int vocab);

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_ROUTING_CHECK_EVENT_H_
