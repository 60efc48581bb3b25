#include "worker/constraint/check_process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_split.h"
#include "base/limited_process.h"
#include "worker/constraint/constraint.h"
#include "worker/constraint/constraint_vocabulary.h"

namespace phalanx {
namespace {

// Ignores the signals that are not meant for this process. The worker started it with all signals
// blocked, so that none of them could end it before. SIGPROF has to end it, see LimitCpu.
void LetSignalsPass() {
  for (const int signal_number : {SIGINT, SIGTERM, SIGHUP, SIGPIPE, SIGQUIT}) {
    signal(signal_number, SIG_IGN);
  }
  signal(SIGPROF, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  pthread_sigmask(SIG_SETMASK, &none, nullptr);
}

// SIGPROF ends the process when it has taken this much processor time.
void LimitCpu(int64_t microseconds) {
  itimerval timer = {};
  timer.it_value.tv_sec = microseconds / 1'000'000;
  timer.it_value.tv_usec = microseconds % 1'000'000;
  setitimer(ITIMER_PROF, &timer, nullptr);
}

ConstraintLimits LimitsOf(const CheckRequest& request, size_t text_bytes) {
  return {
      .max_text_bytes = text_bytes,
      .max_reference_depth = request.max_reference_depth,
      .max_grammar_size = request.max_grammar_size,
      .initial_lexer_fuel = request.initial_lexer_fuel,
      .step_lexer_fuel = request.step_lexer_fuel,
      .step_max_items = request.step_max_items,
      .max_items_in_row = request.max_items_in_row,
      .max_lexer_states = request.max_lexer_states,
  };
}

absl::Status Check(const CheckRequest& request, const std::string& text,
                   const std::string& named_tokens) {
  const std::vector<std::string> names = absl::StrSplit(named_tokens, '\n', absl::SkipEmpty());
  absl::StatusOr<std::shared_ptr<const ConstraintVocabulary>> vocabulary =
      ConstraintVocabulary::OfBytes(names);
  if (!vocabulary.ok()) return vocabulary.status();
  // What the program takes before any constraint comes on top of what that may take.
  SetSoftLimit(RLIMIT_CORE, 0);
  SetSoftLimit(RLIMIT_DATA, DataBytes() + request.max_memory_bytes);
  LimitCpu(request.max_cpu_us);
  return Constraint::Compile(*vocabulary, {request.kind, text}, LimitsOf(request, text.size()))
      .status();
}

}  // namespace

bool SendBytes(int socket, const void* data, size_t size) {
  const char* next = static_cast<const char*>(data);
  while (size > 0) {
    const ssize_t sent = send(socket, next, size, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return false;
    next += sent;
    size -= static_cast<size_t>(sent);
  }
  return true;
}

bool ReceiveBytes(int socket, void* data, size_t size) {
  char* next = static_cast<char*>(data);
  while (size > 0) {
    const ssize_t received = recv(socket, next, size, 0);
    if (received < 0 && errno == EINTR) continue;
    if (received <= 0) return false;
    next += received;
    size -= static_cast<size_t>(received);
  }
  return true;
}

int RunCheckProcess(int socket) {
  LetSignalsPass();
  prctl(PR_SET_NAME, "check-constr");
  CheckRequest request;
  if (!ReceiveBytes(socket, &request, sizeof(request))) return EXIT_FAILURE;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  // The parent may have died before prctl, which would then never send the signal.
  if (getppid() != request.parent) return EXIT_SUCCESS;
  std::string text(request.text_bytes, '\0');
  std::string named_tokens(request.named_tokens_bytes, '\0');
  if (!ReceiveBytes(socket, text.data(), text.size()) ||
      !ReceiveBytes(socket, named_tokens.data(), named_tokens.size())) {
    return EXIT_FAILURE;
  }
  const absl::Status status = Check(request, text, named_tokens);
  LimitCpu(0);
  const std::string message(status.message());
  const CheckAnswer answer = {.ok = status.ok(), .message_bytes = message.size()};
  SendBytes(socket, &answer, sizeof(answer));
  SendBytes(socket, message.data(), message.size());
  // Nothing is worth the time of destructors.
  _exit(EXIT_SUCCESS);
}

}  // namespace phalanx
