// The life of the process that leads its group and serves it to coordinators.
#ifndef PHALANX_WORKER_LEADER_H_
#define PHALANX_WORKER_LEADER_H_

#include "absl/status/status.h"
#include "base/shutdown_signal.h"
#include "worker/platform.h"
#include "worker/worker_options.h"

namespace phalanx {

// Forms the group, loads, prints the ready line to standard output, serves until `shutdown`, and
// drains, computing with what `platform` makes. Returns OK then, and CANCELLED, with the signal
// still pending, if a signal came before it was ready. Other errors tell why it could not start, or
// how the group or the engine was lost; its requests have then ended with that status. When it
// returns, the ranks that it started are gone. To be called from main's thread.
absl::Status RunLeader(WorkerOptions options, const Platform& platform, ShutdownSignal& shutdown);

}  // namespace phalanx

#endif  // PHALANX_WORKER_LEADER_H_
