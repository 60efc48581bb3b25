#include "worker/group/rank_process.h"

#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/errno_text.h"

namespace phalanx {

absl::StatusOr<std::unique_ptr<RankProcess>> RankProcess::Start(
    const std::vector<std::string>& argv) {
  std::vector<char*> arguments;
  arguments.reserve(argv.size() + 1);
  for (const std::string& argument : argv) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid < 0) return absl::InternalError(absl::StrCat("cannot fork: ", ErrnoText(errno)));
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    // The parent may have died before the line above.
    if (getppid() != parent) _exit(1);
    execv(arguments[0], arguments.data());
    _exit(127);
  }
  UniqueFd pidfd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  if (pidfd.get() < 0) {
    const int error = errno;
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
    return absl::InternalError(absl::StrCat("cannot watch a child: ", ErrnoText(error)));
  }
  return std::unique_ptr<RankProcess>(new RankProcess(pid, std::move(pidfd)));
}

RankProcess::~RankProcess() {
  if (ended_) return;
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
}

bool RankProcess::Wait(absl::Duration timeout) {
  const absl::Time deadline = absl::Now() + timeout;
  while (!ended_) {
    const int64_t left_ms =
        std::clamp<int64_t>(absl::ToInt64Milliseconds(deadline - absl::Now()) + 1, 0, INT_MAX);
    pollfd poll_fd{pidfd_.get(), POLLIN, 0};
    if (poll(&poll_fd, 1, static_cast<int>(left_ms)) > 0) {
      ended_ = waitpid(pid_, &status_, 0) == pid_;
    } else if (absl::Now() >= deadline) {
      return false;
    }
  }
  return true;
}

std::string RankProcess::Describe() const {
  if (!ended_) return "is running";
  if (WIFSIGNALED(status_)) {
    return absl::StrCat("was killed by signal ", WTERMSIG(status_), " (",
                        sigdescr_np(WTERMSIG(status_)), ")");
  }
  return absl::StrCat("exited with code ", WEXITSTATUS(status_));
}

}  // namespace phalanx
