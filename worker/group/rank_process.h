// A rank that the leader runs as its child.
#ifndef PHALANX_WORKER_GROUP_RANK_PROCESS_H_
#define PHALANX_WORKER_GROUP_RANK_PROCESS_H_

#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/unique_fd.h"
#include "worker/group/rank_channel.h"

namespace phalanx {

// Thread-compatible. The child gets SIGKILL when this object is destroyed, and when the thread that
// started it ends, so that no child is left behind. So it is to be started by the main thread.
class RankProcess {
 public:
  // Runs `argv` (argv[0] is a path) with our standard error, blocked signals and environment.
  // INTERNAL if the system refuses.
  static absl::StatusOr<std::unique_ptr<RankProcess>> Start(const std::vector<std::string>& argv);
  RankProcess(const RankProcess&) = delete;
  RankProcess& operator=(const RankProcess&) = delete;
  ~RankProcess();

  // Readable once the child has ended.
  int pidfd() const { return pidfd_.get(); }
  pid_t pid() const { return pid_; }

  // Blocks until the child has ended. False after `timeout`.
  bool Wait(absl::Duration timeout);

  // How the child ended: "exited with code 1", "was killed by signal 9 (Killed)", or "ended with
  // unknown status" if SIGCHLD is ignored, so that the system does not tell. "is running" until
  // Wait has returned true.
  std::string Describe() const;

 private:
  RankProcess(pid_t pid, UniqueFd pidfd) : pid_(pid), pidfd_(std::move(pidfd)) {}

  const pid_t pid_;
  const UniqueFd pidfd_;
  bool ended_ = false;
  std::optional<int> status_;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_GROUP_RANK_PROCESS_H_
