// Converts messages of phalanx.worker.v1 to the engine's types and back.
#ifndef PHALANX_WORKER_SERVER_ENGINE_MESSAGES_H_
#define PHALANX_WORKER_SERVER_ENGINE_MESSAGES_H_

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "phalanx/worker/v1/engine.pb.h"
#include "worker/engine/event_sink.h"
#include "worker/engine/request.h"

namespace phalanx {

// INVALID_ARGUMENT if deadline_seconds is negative, infinite or not a number, or if a constraint is
// of no kind that is known. All other values are checked by the engine.
absl::StatusOr<GenerationRequest> ToGenerationRequest(const worker::v1::Submit& submit);

worker::v1::SessionResponse ToStepEvents(absl::Span<const RequestEvent> events,
                                         const EngineLoad& load);

// The first event of a request that the engine has taken in.
worker::v1::SessionResponse ToAcceptance(RequestId id, const EngineLoad& load);

// The only event of a request that was refused with `status`.
worker::v1::SessionResponse ToRefusal(RequestId id, const absl::Status& status,
                                      const EngineLoad& load);

}  // namespace phalanx

#endif  // PHALANX_WORKER_SERVER_ENGINE_MESSAGES_H_
