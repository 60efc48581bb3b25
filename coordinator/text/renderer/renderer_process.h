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
  // What the process may hold for one compilation or rendering, the variables and the output
  // included. A stack of 64 MiB comes on top.
  size_t max_memory_bytes = 256 << 20;
  // How long it may compute for one compilation or rendering.
  absl::Duration max_cpu_time = absl::Seconds(5);
  // How long an answer is waited for. Reached only if the process was stopped or gets no CPU: else
  // max_cpu_time ends it before.
  absl::Duration patience = absl::Seconds(60);
};

// How a call ended that the process did not survive.
enum class RendererDeath {
  kNone,
  // By what the template did: it would do so again.
  kOwnFault,
  // From outside.
  kOutside,
};

struct RendererResult {
  RendererDeath death = RendererDeath::kNone;
  // INVALID_ARGUMENT: the template's or the engine's message, or the limit that ended the process.
  // UNAVAILABLE: why there is no answer.
  absl::StatusOr<std::string> text;
};

// One thread at a time.
class RendererProcess {
 public:
  // Starts this very program again, which has to call RunRendererIfAsked. Blocks no longer than
  // exec takes. UNAVAILABLE if that fails.
  static absl::StatusOr<std::unique_ptr<RendererProcess>> Start(const RendererLimits& limits);

  RendererProcess(const RendererProcess&) = delete;
  RendererProcess& operator=(const RendererProcess&) = delete;
  // Kills it.
  ~RendererProcess();

  // kCompile or kRender. Once it has died, or is_last(), it answers no more.
  RendererResult Call(RendererCall call, uint32_t template_id, absl::string_view bytes);
  void Forget(uint32_t template_id);

  // Whether it ended in good order after its last answer, as templates left too much behind.
  bool is_last() const { return is_last_; }
  pid_t pid() const { return pid_; }

 private:
  RendererProcess(const RendererLimits& limits, int fd, pid_t pid)
      : limits_(limits), fd_(fd), pid_(pid) {}

  RendererResult Bury(WireResult how);
  absl::Status CauseOfDeath(int wait_status, RendererDeath* death) const;

  const RendererLimits limits_;
  const int fd_;
  // -1 once it is buried.
  pid_t pid_;
  bool is_last_ = false;
};

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_TEXT_RENDERER_RENDERER_PROCESS_H_
