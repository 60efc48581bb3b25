// The connection to one worker group over gRPC.
#ifndef PHALANX_COORDINATOR_ROUTING_ENGINE_CONNECTION_H_
#define PHALANX_COORDINATOR_ROUTING_ENGINE_CONNECTION_H_

#include <memory>
#include <string>

#include "absl/time/time.h"
#include "base/clock.h"
#include "coordinator/routing/group_registry.h"
#include "coordinator/routing/reconnect_backoff.h"
#include "coordinator/routing/worker_pool.h"

namespace phalanx {

struct EngineConnectionOptions {
  // The seed is replaced by a random one.
  ReconnectBackoff::Options backoff;
  // A ping is sent after keepalive_time without news, and must be answered within
  // keepalive_timeout. So a frozen group is lost after both have passed.
  absl::Duration keepalive_time = absl::Seconds(2);
  absl::Duration keepalive_timeout = absl::Seconds(3);
};

// Keeps one Engine.Session and one health Watch open to the group at `address`, over one channel,
// and opens them again with backoff whenever either ends. Reports to `registry` as `group`. Does
// not block; logs when the group comes and goes, not for every failed attempt.
std::unique_ptr<GroupConnection> ConnectToEngine(const std::string& address, GroupId group,
                                                 const EngineConnectionOptions& options,
                                                 GroupRegistry* registry, const Clock* clock);

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_ROUTING_ENGINE_CONNECTION_H_
