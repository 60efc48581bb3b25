#include "coordinator/text/renderer/render_loop.h"

#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/limited_process.h"
#include "coordinator/text/jinja/local_jinja.h"
#include "coordinator/text/renderer/wire.h"

namespace phalanx {
namespace {

constexpr int kSocket = STDIN_FILENO;
// Three times what a chain of 20,000 {% elif %} takes. Real templates take a thousandth of that.
constexpr rlim_t kStackBytes = 64 << 20;
// What renderings may leave behind before the process is replaced.
constexpr size_t kMaxKeptBytes = 16 << 20;
// Free memory within the heap, beyond which it is given back to the kernel.
constexpr size_t kManyFreeBytes = 16 << 20;

// Ignores the signals that are not meant for this process. The coordinator started it with all
// signals blocked, so that none of them could end it before. SIGPROF has to end it, see LimitCpu.
void LetSignalsPass() {
  for (const int signal_number : {SIGINT, SIGTERM, SIGHUP, SIGPIPE, SIGQUIT}) {
    signal(signal_number, SIG_IGN);
  }
  signal(SIGPROF, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  pthread_sigmask(SIG_SETMASK, &none, nullptr);
}

void WriteFile(const char* path, const char* text) {
  const int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return;
  [[maybe_unused]] const ssize_t written = write(fd, text, std::strlen(text));
  close(fd);
}

// The kernel knows a limit for the whole process only, so what the program takes before any
// template comes on top of what a template may take. An oom_score_adj of 1000 makes the kernel kill
// this process first when the machine runs out of memory.
void LimitProcess(const RendererRequest& limits) {
  WriteFile("/proc/self/oom_score_adj", "1000");
  SetSoftLimit(RLIMIT_CORE, 0);
  // Usually raises it, from 8 MiB. The kernel reads the limit whenever the stack grows, so it holds
  // at once.
  SetSoftLimit(RLIMIT_STACK, kStackBytes);
  SetSoftLimit(RLIMIT_DATA, DataBytes() + limits.max_memory_bytes + kMaxKeptBytes);
}

// Starts a timer of the processor time that this process takes, in user and in kernel mode. SIGPROF
// ends the process when it is over. 0 stops the timer.
void LimitCpu(int64_t microseconds) {
  itimerval timer = {};
  timer.it_value.tv_sec = microseconds / 1'000'000;
  timer.it_value.tv_usec = microseconds % 1'000'000;
  setitimer(ITIMER_PROF, &timer, nullptr);
}

class Renderer {
 public:
  explicit Renderer(const RendererRequest& limits)
      : max_cpu_us_(limits.max_cpu_us),
        jinja_({.max_steps = limits.max_steps,
                .max_output_bytes = static_cast<size_t>(limits.max_output_bytes)}) {}

  absl::StatusOr<std::string> Serve(const RendererRequest& request, const std::string& bytes) {
    LimitCpu(max_cpu_us_);
    absl::StatusOr<std::string> result = request.call == RendererCall::kCompile
                                             ? Compile(request.template_id, bytes)
                                             : Render(request.template_id, bytes);
    LimitCpu(0);
    return result;
  }

  void Forget(uint32_t id) { templates_.erase(id); }

 private:
  absl::StatusOr<std::string> Compile(uint32_t id, const std::string& source) {
    absl::StatusOr<std::unique_ptr<JinjaTemplate>> compiled = jinja_.Compile(source);
    if (!compiled.ok()) return compiled.status();
    templates_[id] = *std::move(compiled);
    return std::string();
  }

  absl::StatusOr<std::string> Render(uint32_t id, const std::string& variables) {
    const auto found = templates_.find(id);
    // Cannot happen: the coordinator has each process compile a template before it asks for it.
    if (found == templates_.end()) return absl::InternalError("no such template");
    return found->second->Render(variables);
  }

  const int64_t max_cpu_us_;
  LocalJinja jinja_;
  std::map<uint32_t, std::unique_ptr<JinjaTemplate>> templates_;
};

// Bytes of the heap that are in use, by C++ and by Rust, which allocate from the same one.
size_t UsedBytes() {
  const struct mallinfo2 info = mallinfo2();
  return info.uordblks + info.hblkhd;
}

void SetUp(const RendererRequest& limits) {
  // To the kernel the parent is the thread that started this process. If that thread ends, this
  // process is killed even though the coordinator lives, and its next call gets a new one.
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  // The parent may have died before prctl, which would then never send the signal.
  if (getppid() != limits.parent) _exit(EXIT_SUCCESS);
  LimitProcess(limits);
}

int Run() {
  LetSignalsPass();
  prctl(PR_SET_NAME, "render-template");
  constexpr absl::Time kForever = absl::InfiniteFuture();
  RendererRequest request;
  std::string bytes;
  if (ReceiveMessage(kSocket, 0, kForever, &request, &bytes) != WireResult::kDone) {
    return EXIT_SUCCESS;
  }
  SetUp(request);
  Renderer renderer(request);
  size_t most_used = UsedBytes() + kMaxKeptBytes;
  while (ReceiveMessage(kSocket, SIZE_MAX, kForever, &request, &bytes) == WireResult::kDone) {
    if (request.call == RendererCall::kForget) {
      renderer.Forget(request.template_id);
      continue;
    }
    const size_t used_before = UsedBytes();
    const absl::StatusOr<std::string> result = renderer.Serve(request, bytes);
    // The request is freed before memory is measured.
    bytes = std::string();
    const absl::string_view text = result.ok() ? *result : result.status().message();
    // A compiled template is no leak, and its size is limited. The difference may be negative, as
    // the request was freed since; the sum is right nevertheless, because unsigned numbers wrap.
    if (request.call == RendererCall::kCompile) most_used += UsedBytes() - used_before;
    // The result is still held, and is no leak either.
    const bool is_last = UsedBytes() > most_used + text.size();
    const RendererAnswer answer = {.ok = result.ok(), .is_last = is_last, .num_bytes = text.size()};
    if (SendMessage(kSocket, answer, text, kForever) != WireResult::kDone || is_last) break;
    if (mallinfo2().fordblks > kManyFreeBytes) malloc_trim(0);
  }
  return EXIT_SUCCESS;
}

}  // namespace

std::optional<int> RunRendererIfAsked(int argc, char** argv) {
  if (argc != 2 || std::strcmp(argv[1], kRenderTemplatesArgument) != 0) return std::nullopt;
  return Run();
}

}  // namespace phalanx
