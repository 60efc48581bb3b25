// Unix stream sockets at a path.
#ifndef PHALANX_WORKER_GROUP_UNIX_SOCKET_H_
#define PHALANX_WORKER_GROUP_UNIX_SOCKET_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "worker/group/rank_channel.h"

namespace phalanx {

// INVALID_ARGUMENT if the path is too long, UNAVAILABLE if it is taken or cannot be made.
absl::StatusOr<UniqueFd> ListenUnix(const std::string& path);

// Tries until somebody listens there. UNAVAILABLE after `timeout`.
absl::StatusOr<UniqueFd> ConnectUnix(const std::string& path, absl::Duration timeout);

}  // namespace phalanx

#endif  // PHALANX_WORKER_GROUP_UNIX_SOCKET_H_
