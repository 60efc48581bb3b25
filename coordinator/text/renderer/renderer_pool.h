// Compiles and renders the templates of strangers in small processes beside this one.
//
// What a template leaks, allocates or computes is the affair of such a process. It is replaced once
// it has died or holds too much. Whatever ends it ends one call, and no other.
#ifndef PHALANX_COORDINATOR_TEXT_RENDERER_RENDERER_POOL_H_
#define PHALANX_COORDINATOR_TEXT_RENDERER_RENDERER_POOL_H_

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/mutex.h"
#include "coordinator/text/jinja/jinja_template.h"
#include "coordinator/text/renderer/renderer_process.h"

namespace phalanx {

class RendererPool final : public JinjaCompiler {
 public:
  // Starts the processes. As many templates can be rendered at once. UNAVAILABLE if a process
  // cannot be started. The program has to call RunRendererIfAsked in main.
  static absl::StatusOr<std::unique_ptr<RendererPool>> Start(int num_processes,
                                                             const RendererLimits& limits);

  // Kills the processes. All templates that it compiled must be gone.
  ~RendererPool() override;

  // Blocks while all processes work for others, and so does Render of the result. That is
  // INVALID_ARGUMENT also for variables that make the template exceed a limit of memory, stack or
  // time. A call whose process ends from outside is made once more.
  absl::StatusOr<std::unique_ptr<JinjaTemplate>> Compile(absl::string_view source) override
      LOCKS_EXCLUDED(mutex_);

  // The ids of the processes that wait for work, for tests.
  std::vector<pid_t> idle_pids() const LOCKS_EXCLUDED(mutex_);

 private:
  friend class RemoteTemplate;

  // A place for one process, which is null if it has died. The number of places never changes.
  struct Place {
    std::unique_ptr<RendererProcess> process;
    // The ids of the templates that the process has compiled.
    std::set<uint32_t> compiled;
  };

  explicit RendererPool(const RendererLimits& limits) : limits_(limits) {}

  // If `variables` is null, which is allowed only for a new id, the template is only compiled.
  absl::StatusOr<std::string> Call(uint32_t id, const std::string& source,
                                   const absl::string_view* variables) LOCKS_EXCLUDED(mutex_);
  RendererResult CallAt(Place& place, uint32_t id, const std::string& source,
                        const absl::string_view* variables);
  void Forget(uint32_t id) LOCKS_EXCLUDED(mutex_);
  Place TakePlace() LOCKS_EXCLUDED(mutex_);
  void GiveBack(Place place) LOCKS_EXCLUDED(mutex_);

  const RendererLimits limits_;
  mutable Mutex mutex_;
  CondVar given_back_;
  // Ordered by the time when they were given back; the last one was given back most recently.
  std::vector<Place> idle_ GUARDED_BY(mutex_);
  uint32_t next_id_ GUARDED_BY(mutex_) = 1;
  // The ids of the templates that exist. A process is told to forget the others before its next
  // call.
  std::set<uint32_t> used_ GUARDED_BY(mutex_);
};

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_TEXT_RENDERER_RENDERER_POOL_H_
