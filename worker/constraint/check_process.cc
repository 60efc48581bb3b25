#include "worker/constraint/check_process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_split.h"
#include "base/limited_process.h"
#include "worker/constraint/constraint.h"
#include "worker/constraint/constraint_vocabulary.h"

namespace phalanx {
namespace {

// Beyond this a message is not one of the library.
constexpr uint64_t kMaxMessageBytes = 64 << 10;

bool WriteAll(int file, const void* data, size_t size) {
  const char* next = static_cast<const char*>(data);
  while (size > 0) {
    const ssize_t written = write(file, next, size);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    next += written;
    size -= static_cast<size_t>(written);
  }
  return true;
}

bool ReadAll(int file, void* data, size_t size) {
  char* next = static_cast<char*>(data);
  while (size > 0) {
    const ssize_t got = read(file, next, size);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    next += got;
    size -= static_cast<size_t>(got);
  }
  return true;
}

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
      .step_max_work = request.step_max_work,
      .max_lexer_states = request.max_lexer_states,
  };
}

struct Verdict {
  uint8_t ok = 0;
  uint64_t message_bytes = 0;
};

// In the copy: tries the constraint under its limits, writes the verdict and the message, and ends.
[[noreturn]] void Try(const CheckRequest& request, const std::string& text,
                      std::shared_ptr<const ConstraintVocabulary> vocabulary, pid_t server,
                      int pipe) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != server) _exit(EXIT_FAILURE);
  // What the program takes before any constraint comes on top of what that may take.
  SetSoftLimit(RLIMIT_CORE, 0);
  SetSoftLimit(RLIMIT_DATA, DataBytes() + request.max_memory_bytes);
  LimitCpu(request.max_cpu_us);
  const absl::Status status = Constraint::Compile(std::move(vocabulary), {request.kind, text},
                                                  LimitsOf(request, text.size()))
                                  .status();
  LimitCpu(0);
  const Verdict verdict = {.ok = status.ok(), .message_bytes = status.message().size()};
  const bool written = WriteAll(pipe, &verdict, sizeof(verdict)) &&
                       WriteAll(pipe, status.message().data(), status.message().size());
  // Nothing is worth the time of destructors.
  _exit(written ? EXIT_SUCCESS : EXIT_FAILURE);
}

int64_t CpuMicroseconds() {
  timespec time = {};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return int64_t{time.tv_sec} * 1'000'000 + time.tv_nsec / 1'000;
}

int64_t Microseconds(const timeval& time) {
  return int64_t{time.tv_sec} * 1'000'000 + time.tv_usec;
}

// Reads the verdict of the copy, if there is one, waits for its end and notes what it cost.
void Await(pid_t copy, int pipe, CheckAnswer* answer, std::string* message) {
  Verdict verdict;
  if (ReadAll(pipe, &verdict, sizeof(verdict)) && verdict.message_bytes <= kMaxMessageBytes) {
    message->resize(verdict.message_bytes);
    if (!ReadAll(pipe, message->data(), message->size())) message->clear();
    answer->ok = verdict.ok;
  }
  rusage usage = {};
  while (wait4(copy, &answer->wait_status, 0, &usage) < 0 && errno == EINTR) {
  }
  answer->message_bytes = message->size();
  answer->cpu_us = Microseconds(usage.ru_utime) + Microseconds(usage.ru_stime);
  answer->memory_bytes = int64_t{usage.ru_maxrss} << 10;
}

// A process that checks, after its start.
class CheckServer {
 public:
  explicit CheckServer(int socket) : socket_(socket) {}

  // False if the other side has closed the socket, or no answer can be given.
  bool AnswerOne() {
    CheckRequest request;
    if (!ReceiveBytes(socket_, &request, sizeof(request))) return false;
    const int64_t begin_us = CpuMicroseconds();
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    // The parent may have died before prctl, which would then never send the signal.
    if (getppid() != request.parent) return false;
    std::string text(request.text_bytes, '\0');
    std::string named_tokens(request.named_tokens_bytes, '\0');
    if (!ReceiveBytes(socket_, text.data(), text.size()) ||
        !ReceiveBytes(socket_, named_tokens.data(), named_tokens.size()) ||
        !MakeVocabulary(named_tokens)) {
      return false;
    }
    CheckAnswer answer;
    std::string message;
    if (!TryInCopy(request, text, &answer, &message)) return false;
    answer.cpu_us += CpuMicroseconds() - begin_us;
    return SendBytes(socket_, &answer, sizeof(answer)) &&
           SendBytes(socket_, message.data(), message.size());
  }

 private:
  // All requests of a worker have the same named tokens.
  bool MakeVocabulary(const std::string& named_tokens) {
    if (vocabulary_ != nullptr && named_tokens == named_tokens_) return true;
    const std::vector<std::string> names = absl::StrSplit(named_tokens, '\n', absl::SkipEmpty());
    auto vocabulary = ConstraintVocabulary::OfBytes(names);
    if (!vocabulary.ok()) return false;
    vocabulary_ = *std::move(vocabulary);
    named_tokens_ = named_tokens;
    return true;
  }

  // fork, since this process has one thread, and all that a check needs is in its memory.
  bool TryInCopy(const CheckRequest& request, const std::string& text, CheckAnswer* answer,
                 std::string* message) const {
    int pipe[2];
    if (pipe2(pipe, O_CLOEXEC) != 0) return false;
    const pid_t server = getpid();
    const pid_t copy = fork();
    if (copy == 0) {
      close(socket_);
      close(pipe[0]);
      Try(request, text, vocabulary_, server, pipe[1]);
    }
    close(pipe[1]);
    if (copy > 0) Await(copy, pipe[0], answer, message);
    close(pipe[0]);
    return copy > 0;
  }

  const int socket_;
  std::string named_tokens_;
  std::shared_ptr<const ConstraintVocabulary> vocabulary_;
};

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
  CheckServer server(socket);
  while (server.AnswerOne()) {
  }
  // Nothing is worth the time of destructors.
  _exit(EXIT_SUCCESS);
}

}  // namespace phalanx
