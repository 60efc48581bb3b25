#include "worker/constraint/constraint_check.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "base/errno_text.h"
#include "base/limited_process.h"
#include "worker/constraint/check_process.h"

namespace phalanx {
namespace {

constexpr int kPatienceSeconds = 10;
// Beyond this a message is not one of the library.
constexpr uint64_t kMaxMessageBytes = 64 << 10;

absl::Status CannotStart(int error) {
  return absl::UnavailableError(absl::StrCat(
      "the process that checks constraints cannot be started: ", ErrnoText(error), "; try again"));
}

void SetPatience(int socket) {
  const timeval patience = {.tv_sec = kPatienceSeconds, .tv_usec = 0};
  setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
}

bool Ask(int socket, const ConstraintSource& source, const ConstraintLimits& limits,
         const std::string& named_tokens) {
  CheckRequest request;
  // Its gaps are sent too.
  std::memset(static_cast<void*>(&request), 0, sizeof(request));
  request.kind = source.kind;
  request.text_bytes = source.text.size();
  request.named_tokens_bytes = named_tokens.size();
  request.max_cpu_us = absl::ToInt64Microseconds(limits.max_cpu_time);
  request.max_memory_bytes = limits.max_memory_bytes;
  request.max_reference_depth = limits.max_reference_depth;
  request.max_grammar_size = limits.max_grammar_size;
  request.initial_lexer_fuel = limits.initial_lexer_fuel;
  request.step_lexer_fuel = limits.step_lexer_fuel;
  request.step_max_items = limits.step_max_items;
  request.max_items_in_row = limits.max_items_in_row;
  request.max_lexer_states = limits.max_lexer_states;
  request.parent = getpid();
  return SendBytes(socket, &request, sizeof(request)) &&
         SendBytes(socket, source.text.data(), source.text.size()) &&
         SendBytes(socket, named_tokens.data(), named_tokens.size());
}

// True if there is an answer.
bool ReceiveAnswer(int socket, absl::Status* status) {
  CheckAnswer answer;
  if (!ReceiveBytes(socket, &answer, sizeof(answer))) return false;
  if (answer.message_bytes > kMaxMessageBytes) return false;
  std::string message(answer.message_bytes, '\0');
  if (!ReceiveBytes(socket, message.data(), message.size())) return false;
  *status = answer.ok != 0 ? absl::OkStatus() : absl::InvalidArgumentError(message);
  return true;
}

// Of a process that has not answered.
absl::Status CauseOfDeath(int wait_status, const ConstraintLimits& limits) {
  if (WIFSIGNALED(wait_status)) {
    switch (WTERMSIG(wait_status)) {
      case SIGPROF:
        return absl::InvalidArgumentError(absl::StrCat("takes more than ",
                                                       absl::FormatDuration(limits.max_cpu_time),
                                                       " of computing to compile"));
      // C++ and Rust abort when an allocation fails, and Rust when a stack is full.
      case SIGABRT:
      case SIGSEGV:
      case SIGBUS:
        return absl::InvalidArgumentError(absl::StrCat("nests too deeply or takes more than ",
                                                       limits.max_memory_bytes >> 20,
                                                       " MiB of memory to compile"));
      default:
        break;
    }
  }
  return absl::UnavailableError(
      "the process that checks constraints was ended from outside, or did not answer in time; try "
      "again");
}

}  // namespace

std::optional<int> RunConstraintCheckIfAsked(int argc, char** argv) {
  if (argc != 2 || std::strcmp(argv[1], kCheckConstraintArgument) != 0) return std::nullopt;
  return RunCheckProcess(STDIN_FILENO);
}

absl::Status CheckConstraint(const ConstraintSource& source, const ConstraintLimits& limits,
                             absl::Span<const std::string> named_tokens) {
  if (source.text.size() > limits.max_text_bytes) {
    return absl::InvalidArgumentError(absl::StrCat("has ", source.text.size(), " bytes, and ",
                                                   limits.max_text_bytes, " are allowed"));
  }
  int sockets[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) != 0) return CannotStart(errno);
  pid_t pid = -1;
  const int error = StartOwnProgram("check-constraint", kCheckConstraintArgument, sockets[1], &pid);
  close(sockets[1]);
  if (error != 0) {
    close(sockets[0]);
    return CannotStart(error);
  }
  SetPatience(sockets[0]);
  absl::Status status;
  const bool asked = Ask(sockets[0], source, limits, absl::StrJoin(named_tokens, "\n"));
  // Without an answer the socket is closed, because the process has ended, or the time is over.
  errno = 0;
  const bool answered = asked && ReceiveAnswer(sockets[0], &status);
  if (answered || errno == EAGAIN || errno == EWOULDBLOCK) kill(pid, SIGKILL);
  close(sockets[0]);
  int wait_status = 0;
  while (waitpid(pid, &wait_status, 0) < 0 && errno == EINTR) {
  }
  return answered ? status : CauseOfDeath(wait_status, limits);
}

}  // namespace phalanx
