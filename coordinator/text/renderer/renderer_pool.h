// Templates of strangers, compiled and rendered by small processes beside this one.
//
// What a template leaks, allocates or computes is such a process's, which is replaced once it died
// or holds too much; whatever ends it ends one call, and no other.
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
  // Renders as many templates at once as there are processes. Starts them, which UNAVAILABLE tells
  // about if it fails; the program has to call RunRendererIfAsked in main.
  static absl::StatusOr<std::unique_ptr<RendererPool>> Start(int num_processes,
                                                             const RendererLimits& limits);

  // Kills the processes. All templates must be gone.
  ~RendererPool() override;

  // Blocks while all processes work for others. The result does so too, and is INVALID_ARGUMENT
  // for variables that make the template exceed a limit of memory, stack or time as well. A call
  // whose process ends from outside is made once more.
  absl::StatusOr<std::unique_ptr<JinjaTemplate>> Compile(absl::string_view source) override
      LOCKS_EXCLUDED(mutex_);

  // Of the processes that wait for work.
  std::vector<pid_t> idle_pids() const LOCKS_EXCLUDED(mutex_);

 private:
  friend class RemoteTemplate;

  // Empty if its process has died.
  struct Place {
    std::unique_ptr<RendererProcess> process;
    // Templates that it has compiled.
    std::set<uint32_t> compiled;
  };

  explicit RendererPool(const RendererLimits& limits) : limits_(limits) {}

  // `variables` null: compiles only.
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
  // Ordered by when they were given back: the last one most recently.
  std::vector<Place> idle_ GUARDED_BY(mutex_);
  uint32_t next_id_ GUARDED_BY(mutex_) = 1;
  // Templates that are not gone: a process is told with its next call to forget the others.
  std::set<uint32_t> used_ GUARDED_BY(mutex_);
};

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_TEXT_RENDERER_RENDERER_POOL_H_
