// The life of a process that is not the leader of its group.
#ifndef PHALANX_WORKER_MEMBER_H_
#define PHALANX_WORKER_MEMBER_H_

#include "absl/status/status.h"
#include "base/shutdown_signal.h"
#include "worker/platform.h"
#include "worker/worker_options.h"

namespace phalanx {

// Joins, loads, serves its metrics and runs steps until the leader says stop, which is OK. A rank
// that was not started by its leader also leaves on a signal, with CANCELLED. Other errors tell
// what went wrong. The leader has been told of them, if it was there.
absl::Status RunMember(const WorkerOptions& options, const Platform& platform,
                       const ShutdownSignal& shutdown);

}  // namespace phalanx

#endif  // PHALANX_WORKER_MEMBER_H_
