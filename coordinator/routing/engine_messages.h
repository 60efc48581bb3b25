// Converts between the structs of group_session.h and the messages on the wire.
#ifndef PHALANX_COORDINATOR_ROUTING_ENGINE_MESSAGES_H_
#define PHALANX_COORDINATOR_ROUTING_ENGINE_MESSAGES_H_

#include <vector>

#include "coordinator/routing/group_session.h"
#include "phalanx/worker/v1/engine.pb.h"

namespace phalanx {

worker::v1::SessionRequest SubmitMessage(const EngineRequest& request);
worker::v1::SessionRequest CancelMessage(uint64_t request_id);

GroupHello HelloFrom(const worker::v1::Hello& hello);

// The events point into `step`. A finish without a known reason and an error without a known code
// become INTERNAL errors, since a worker may send anything. A refusal has a note of when to try
// again (base/retry_after.h) if the worker told.
std::vector<EngineEvent> EventsFrom(const worker::v1::StepEvents& step);

GroupLoad LoadFrom(const worker::v1::Load& load);

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_ROUTING_ENGINE_MESSAGES_H_
