// What an engine keeps of a session; a detail of Engine.
#ifndef PHALANX_WORKER_ENGINE_SESSION_STATE_H_
#define PHALANX_WORKER_ENGINE_SESSION_STATE_H_

#include "absl/container/flat_hash_map.h"
#include "base/mutex.h"
#include "worker/engine/event_sink.h"
#include "worker/engine/request.h"
#include "worker/engine/scheduler.h"

namespace phalanx {

struct SessionState {
  struct Live {
    SequenceId sequence;
    // A Cancellation is on its way to the engine thread, so that a second one is not needed.
    bool cancelled = false;
  };

  explicit SessionState(EventSink* event_sink) : sink(event_sink) {}

  // Held while the sink is called, so that whoever sets `sink` to null knows that no call is
  // running. The sink may submit and cancel, which locks the engine's mutex: so this mutex is
  // always the first of the two, and is never taken by a thread that holds the engine's.
  Mutex sink_mutex;
  // Null once the session is gone.
  EventSink* sink GUARDED_BY(sink_mutex);
  // Requests that have not ended. Guarded by the engine's mutex, which this struct has no name for.
  absl::flat_hash_map<RequestId, Live> live;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_ENGINE_SESSION_STATE_H_
