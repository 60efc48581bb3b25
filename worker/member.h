// The life of a process that is not the leader of its group.
#ifndef PHALANX_WORKER_MEMBER_H_
#define PHALANX_WORKER_MEMBER_H_

#include "absl/status/status.h"
#include "base/shutdown_signal.h"
#include "worker/worker_options.h"

namespace phalanx {

// Joins, loads, serves its metrics and runs steps until the leader says stop: OK. A rank that was
// not started by its leader leaves on a signal too: CANCELLED. Otherwise what went wrong, which the
// leader has been told if it was there to listen.
absl::Status RunMember(const WorkerOptions& options, const ShutdownSignal& shutdown);

}  // namespace phalanx

#endif  // PHALANX_WORKER_MEMBER_H_
