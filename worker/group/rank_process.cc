#include "worker/group/rank_process.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/errno_text.h"
#include "worker/group/poll_readable.h"

namespace phalanx {

absl::StatusOr<std::unique_ptr<RankProcess>> RankProcess::Start(
    const std::vector<std::string>& argv) {
  // Made before fork: in the child nothing may be allocated, because another thread of the parent
  // may have held the allocator's lock at that moment, and nobody would ever release the copy.
  std::vector<char*> arguments;
  arguments.reserve(argv.size() + 1);
  for (const std::string& argument : argv) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid < 0) return absl::InternalError(absl::StrCat("cannot fork: ", ErrnoText(errno)));
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    // If the parent died before prctl was called, no signal will come.
    if (getppid() != parent) _exit(1);
    execv(arguments[0], arguments.data());
    // The code by which shells say that a program cannot be run.
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
  // By its descriptor. If SIGCHLD is ignored the system reaps children at once, so the number may
  // belong to another process by now.
  syscall(SYS_pidfd_send_signal, pidfd_.get(), SIGKILL, nullptr, 0);
  Wait(absl::InfiniteDuration());
}

bool RankProcess::Wait(absl::Duration timeout) {
  if (ended_) return true;
  if (!PollReadable({pidfd_.get()}, MonotonicClock()->Now() + timeout).ok()) return false;
  // Fails if SIGCHLD is ignored, and the status stays unknown.
  ended_ = true;
  int status = 0;
  if (waitpid(pid_, &status, 0) == pid_) status_ = status;
  return true;
}

std::string RankProcess::Describe() const {
  if (!ended_) return "is running";
  if (!status_.has_value()) return "ended with unknown status";
  if (WIFSIGNALED(*status_)) {
    return absl::StrCat("was killed by signal ", WTERMSIG(*status_), " (",
                        sigdescr_np(WTERMSIG(*status_)), ")");
  }
  return absl::StrCat("exited with code ", WEXITSTATUS(*status_));
}

}  // namespace phalanx
