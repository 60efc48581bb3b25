// One process that renders templates, as its coordinator sees it.
#ifndef PHALANX_COORDINATOR_TEXT_RENDERER_RENDERER_PROCESS_H_
#define PHALANX_COORDINATOR_TEXT_RENDERER_RENDERER_PROCESS_H_

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "coordinator/text/jinja/jinja_template.h"
#include "coordinator/text/renderer/wire.h"

namespace phalanx {

struct RendererLimits {
  JinjaLimits jinja = {};
  // The memory that one compilation or rendering may take, including the variables and the output.
  // A stack of 64 MiB comes on top.
  size_t max_memory_bytes = 256 << 20;
  // The processor time that one compilation or rendering may take.
  absl::Duration max_cpu_time = absl::Seconds(5);
  // How long an answer is waited for. This is reached only if the process was stopped or gets no
  // CPU. Otherwise max_cpu_time ends it before.
  absl::Duration patience = absl::Seconds(60);
};

// What ended a process during a call.
enum class RendererDeath {
  kNone,
  // What the template did ended it, and would do so again.
  kOwnFault,
  // It was killed from outside, or did not answer in time.
  kOutside,
};

struct RendererResult {
  RendererDeath death = RendererDeath::kNone;
  // INVALID_ARGUMENT with the message of the template or the engine, or naming the limit that ended
  // the process. UNAVAILABLE telling why there is no answer.
  absl::StatusOr<std::string> text;
};

// Thread-compatible.
class RendererProcess {
 public:
  // Starts this very program again, which has to call RunRendererIfAsked in main. Blocks no longer
  // than exec takes. UNAVAILABLE if that fails.
  static absl::StatusOr<std::unique_ptr<RendererProcess>> Start(const RendererLimits& limits);

  RendererProcess(const RendererProcess&) = delete;
  RendererProcess& operator=(const RendererProcess&) = delete;
  // Kills the process.
  ~RendererProcess();

  // `call` is kCompile or kRender. Once the process has died, or is_last() is true, it answers no
  // more.
  RendererResult Call(RendererCall call, uint32_t template_id, absl::string_view bytes);
  void Forget(uint32_t template_id);

  // Whether the process ended in good order after its last answer, because templates had left too
  // much behind.
  bool is_last() const { return is_last_; }
  pid_t pid() const { return pid_; }

 private:
  RendererProcess(const RendererLimits& limits, int fd, pid_t pid)
      : limits_(limits), fd_(fd), pid_(pid) {}

  RendererResult Bury(WireResult how);
  absl::Status CauseOfDeath(int wait_status, RendererDeath* death) const;

  const RendererLimits limits_;
  const int fd_;
  // -1 once the process has ended and was waited for.
  pid_t pid_;
  bool is_last_ = false;
};

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_TEXT_RENDERER_RENDERER_PROCESS_H_
