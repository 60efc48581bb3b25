#include "coordinator/text/renderer/renderer_process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/errno_text.h"
#include "base/limited_process.h"
#include "coordinator/text/renderer/render_loop.h"

namespace phalanx {
namespace {

// Room for the message of an error where the output may be shorter than that.
constexpr size_t kMaxMessageBytes = 64 << 10;

absl::Status CannotStart(int error) {
  return absl::UnavailableError(
      absl::StrCat("the process that renders chat templates cannot be started: ", ErrnoText(error),
                   "; try again"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<RendererProcess>> RendererProcess::Start(
    const RendererLimits& limits) {
  int sockets[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) != 0) return CannotStart(errno);
  pid_t pid = -1;
  // The same program, since both sides must have the same structs of wire.h.
  const int error = StartOwnProgram("render-template", kRenderTemplatesArgument, sockets[1], &pid);
  close(sockets[1]);
  if (error != 0) {
    close(sockets[0]);
    return CannotStart(error);
  }
  std::unique_ptr<RendererProcess> process(new RendererProcess(limits, sockets[0], pid));
  const RendererRequest configure = {
      .call = RendererCall::kConfigure,
      .max_steps = limits.jinja.max_steps,
      .max_output_bytes = limits.jinja.max_output_bytes,
      .max_memory_bytes = limits.max_memory_bytes,
      .max_cpu_us = absl::ToInt64Microseconds(limits.max_cpu_time),
      .parent = getpid(),
  };
  // The message fits into the socket's buffer. If the process has died, the first call tells.
  SendMessage(process->fd_, configure, "", MonotonicClock()->Now() + limits.patience);
  return process;
}

RendererProcess::~RendererProcess() {
  if (pid_ > 0) {
    kill(pid_, SIGKILL);
    while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
  close(fd_);
}

RendererResult RendererProcess::Call(RendererCall call, uint32_t template_id,
                                     absl::string_view bytes) {
  const absl::Time deadline = MonotonicClock()->Now() + limits_.patience;
  const RendererRequest request = {
      .call = call, .template_id = template_id, .num_bytes = bytes.size()};
  WireResult result = SendMessage(fd_, request, bytes, deadline);
  RendererAnswer answer;
  std::string text;
  if (result == WireResult::kDone) {
    const size_t max_bytes = limits_.jinja.max_output_bytes + kMaxMessageBytes;
    result = ReceiveMessage(fd_, max_bytes, deadline, &answer, &text);
  }
  if (result != WireResult::kDone) return Bury(result);
  is_last_ = answer.is_last != 0;
  if (answer.ok != 0) return {RendererDeath::kNone, std::move(text)};
  return {RendererDeath::kNone, absl::InvalidArgumentError(text)};
}

void RendererProcess::Forget(uint32_t template_id) {
  const RendererRequest request = {.call = RendererCall::kForget, .template_id = template_id};
  SendMessage(fd_, request, "", MonotonicClock()->Now() + limits_.patience);
}

RendererResult RendererProcess::Bury(WireResult how) {
  // A process that does not answer is left to the destructor, which kills it.
  if (how == WireResult::kTimedOut) {
    return {RendererDeath::kOutside, absl::UnavailableError(absl::StrCat(
                                         "no answer from the process that renders chat "
                                         "templates within ",
                                         absl::FormatDuration(limits_.patience), "; try again"))};
  }
  // The socket was closed, or the process sent what it must not. It gets a second to end by itself,
  // because SIGKILL would hide what ended it. WNOWAIT leaves the status for the waitpid that
  // follows.
  int wait_status = 0;
  siginfo_t info = {};
  const absl::Time end = MonotonicClock()->Now() + absl::Seconds(1);
  while (waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOWAIT | WNOHANG) == 0 &&
         info.si_pid == 0 && MonotonicClock()->Now() < end) {
    usleep(1000);
  }
  kill(pid_, SIGKILL);
  while (waitpid(pid_, &wait_status, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
  RendererDeath death = RendererDeath::kOutside;
  const absl::Status cause = CauseOfDeath(wait_status, &death);
  return {death, cause};
}

absl::Status RendererProcess::CauseOfDeath(int wait_status, RendererDeath* death) const {
  *death = RendererDeath::kOwnFault;
  if (WIFSIGNALED(wait_status)) {
    switch (WTERMSIG(wait_status)) {
      case SIGPROF:
        return absl::InvalidArgumentError(absl::StrCat(
            "takes more than ", absl::FormatDuration(limits_.max_cpu_time), " of computing"));
      // C++ and Rust abort when an allocation fails.
      case SIGABRT:
        return absl::InvalidArgumentError(
            absl::StrCat("takes more than ", limits_.max_memory_bytes >> 20, " MiB of memory"));
      // An overflowing stack ends the process by one of these.
      case SIGSEGV:
      case SIGBUS:
        return absl::InvalidArgumentError("nests too deeply: takes more than 64 MiB of stack");
      case SIGILL:
      case SIGFPE:
      case SIGTRAP:
        return absl::InvalidArgumentError("ends the process that renders it");
      default:
        break;
    }
  } else if (WEXITSTATUS(wait_status) != 0) {
    // This is how sanitizers end a program.
    return absl::InvalidArgumentError("ends the process that renders it");
  }
  // SIGKILL, from the kernel out of memory or from an operator, other signals, or an orderly end.
  *death = RendererDeath::kOutside;
  return absl::UnavailableError(
      "the process that renders chat templates was ended from outside; try again");
}

}  // namespace phalanx
