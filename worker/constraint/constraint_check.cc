#include "worker/constraint/constraint_check.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "base/errno_text.h"
#include "base/limited_process.h"
#include "base/status.h"
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

CheckRequest RequestOf(const ConstraintSource& source, const ConstraintLimits& limits) {
  CheckRequest request;
  // Its gaps are sent too.
  std::memset(static_cast<void*>(&request), 0, sizeof(request));
  request.kind = source.kind;
  request.text_bytes = source.text.size();
  request.max_cpu_us = absl::ToInt64Microseconds(limits.max_cpu_time);
  request.max_memory_bytes = limits.max_memory_bytes;
  request.max_reference_depth = limits.max_reference_depth;
  request.max_grammar_size = limits.max_grammar_size;
  request.initial_lexer_fuel = limits.initial_lexer_fuel;
  request.step_lexer_fuel = limits.step_lexer_fuel;
  request.step_max_items = limits.step_max_items;
  request.step_max_work = limits.step_max_work;
  request.max_items_in_row = limits.max_items_in_row;
  request.max_lexer_states = limits.max_lexer_states;
  request.parent = getpid();
  return request;
}

// True if there is an answer.
bool ReceiveAnswer(int socket, CheckAnswer* answer, std::string* message) {
  if (!ReceiveBytes(socket, answer, sizeof(*answer))) return false;
  if (answer->message_bytes > kMaxMessageBytes) return false;
  message->resize(answer->message_bytes);
  return ReceiveBytes(socket, message->data(), message->size());
}

absl::Status VerdictOf(const CheckAnswer& answer, const std::string& message,
                       const ConstraintLimits& limits) {
  if (WIFEXITED(answer.wait_status) && WEXITSTATUS(answer.wait_status) == EXIT_SUCCESS) {
    return answer.ok != 0 ? absl::OkStatus() : absl::InvalidArgumentError(message);
  }
  switch (WIFSIGNALED(answer.wait_status) ? WTERMSIG(answer.wait_status) : 0) {
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
      return absl::UnavailableError("a check of a constraint was ended from outside; try again");
  }
}

}  // namespace

std::optional<int> RunConstraintCheckIfAsked(int argc, char** argv) {
  if (argc != 2 || std::strcmp(argv[1], kCheckConstraintArgument) != 0) return std::nullopt;
  return RunCheckProcess(STDIN_FILENO);
}

ConstraintChecker::~ConstraintChecker() {
  MutexLock lock(&mutex_);
  Stop();
}

absl::Status ConstraintChecker::Check(const ConstraintSource& source,
                                      const ConstraintLimits& limits,
                                      absl::Span<const std::string> named_tokens, Cost* cost) {
  if (source.text.size() > limits.max_text_bytes) {
    return absl::InvalidArgumentError(absl::StrCat("has ", source.text.size(), " bytes, and ",
                                                   limits.max_text_bytes, " are allowed"));
  }
  MutexLock lock(&mutex_);
  // The process may have been ended since the last check, which is no fault of this constraint.
  for (int attempt = 0; attempt < 2; ++attempt) {
    if (pid_ < 0) RETURN_IF_ERROR(Start());
    CheckAnswer answer;
    std::string message;
    errno = 0;
    if (Ask(source, limits, named_tokens) && ReceiveAnswer(socket_, &answer, &message)) {
      if (cost != nullptr) *cost = {absl::Microseconds(answer.cpu_us), answer.memory_bytes};
      return VerdictOf(answer, message, limits);
    }
    const bool late = errno == EAGAIN || errno == EWOULDBLOCK;
    Stop();
    if (late) break;
  }
  return absl::UnavailableError(
      "the process that checks constraints was ended from outside, or did not answer in time; try "
      "again");
}

pid_t ConstraintChecker::pid() const {
  MutexLock lock(&mutex_);
  return pid_;
}

absl::Status ConstraintChecker::Start() {
  int sockets[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) != 0) return CannotStart(errno);
  const int error =
      StartOwnProgram("check-constraint", kCheckConstraintArgument, sockets[1], &pid_);
  close(sockets[1]);
  if (error != 0) {
    close(sockets[0]);
    pid_ = -1;
    return CannotStart(error);
  }
  socket_ = sockets[0];
  SetPatience(socket_);
  return absl::OkStatus();
}

// Its copy, if there is one, ends with it.
void ConstraintChecker::Stop() {
  if (pid_ < 0) return;
  kill(pid_, SIGKILL);
  close(socket_);
  while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
  socket_ = -1;
}

bool ConstraintChecker::Ask(const ConstraintSource& source, const ConstraintLimits& limits,
                            absl::Span<const std::string> named_tokens) {
  const std::string names = absl::StrJoin(named_tokens, "\n");
  CheckRequest request = RequestOf(source, limits);
  request.named_tokens_bytes = names.size();
  return SendBytes(socket_, &request, sizeof(request)) &&
         SendBytes(socket_, source.text.data(), source.text.size()) &&
         SendBytes(socket_, names.data(), names.size());
}

}  // namespace phalanx
