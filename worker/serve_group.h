// The time in which a worker group serves: from the ready line to the end of the process, through
// the losses of ranks.
#ifndef PHALANX_WORKER_SERVE_GROUP_H_
#define PHALANX_WORKER_SERVE_GROUP_H_

#include <string>

#include "absl/status/status.h"
#include "base/shutdown_signal.h"
#include "worker/engine/engine.h"
#include "worker/group/group_leader.h"
#include "worker/group_metrics.h"
#include "worker/server/worker_server.h"
#include "worker/worker_options.h"

namespace phalanx {

// All references are lent. For main's thread.
class GroupServing {
 public:
  GroupServing(const WorkerOptions& options, Engine& engine, GroupLeader& group,
               GroupLeader::Rejoin rejoin, std::string weights_digest, WorkerServer& server,
               GroupMetrics& metrics, ShutdownSignal& shutdown)
      : options_(options),
        engine_(engine),
        group_(group),
        rejoin_(std::move(rejoin)),
        weights_digest_(std::move(weights_digest)),
        server_(server),
        metrics_(metrics),
        shutdown_(shutdown) {}

  // Prints the ready line and runs the engine until a signal, a loss that cannot be mended, or the
  // engine's own error ends it; returns these errors. `shutdown` must be notified when the group is
  // lost. While the group forms again, health is NOT_SERVING and requests wait.
  absl::Status Run(const std::string& ready_line);

 private:
  // Has the group form again, and the engine go on.
  absl::Status Heal();

  const WorkerOptions& options_;
  Engine& engine_;
  GroupLeader& group_;
  const GroupLeader::Rejoin rejoin_;
  const std::string weights_digest_;
  WorkerServer& server_;
  GroupMetrics& metrics_;
  ShutdownSignal& shutdown_;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_SERVE_GROUP_H_
