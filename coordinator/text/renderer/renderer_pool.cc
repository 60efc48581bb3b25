#include "coordinator/text/renderer/renderer_pool.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/status/status.h"
#include "base/log.h"
#include "base/status.h"

namespace phalanx {

class RemoteTemplate final : public JinjaTemplate {
 public:
  RemoteTemplate(RendererPool* pool, uint32_t id, std::string source)
      : pool_(pool), id_(id), source_(std::move(source)) {}
  ~RemoteTemplate() override { pool_->Forget(id_); }

  absl::StatusOr<std::string> Render(absl::string_view variables_json) const override {
    return pool_->Call(id_, source_, &variables_json);
  }

 private:
  RendererPool* const pool_;
  const uint32_t id_;
  const std::string source_;
};

absl::StatusOr<std::unique_ptr<RendererPool>> RendererPool::Start(int num_processes,
                                                                  const RendererLimits& limits) {
  std::unique_ptr<RendererPool> pool(new RendererPool(limits));
  for (int i = 0; i < num_processes; ++i) {
    Place place;
    ASSIGN_OR_RETURN(place.process, RendererProcess::Start(limits));
    pool->GiveBack(std::move(place));
  }
  return pool;
}

RendererPool::~RendererPool() = default;

absl::StatusOr<std::unique_ptr<JinjaTemplate>> RendererPool::Compile(absl::string_view source) {
  uint32_t id = 0;
  {
    MutexLock lock(&mutex_);
    id = next_id_++;
    used_.insert(id);
  }
  // Made before the call, so that its destructor forgets the id if the source does not compile.
  auto compiled = std::make_unique<RemoteTemplate>(this, id, std::string(source));
  RETURN_IF_ERROR(Call(id, std::string(source), nullptr).status());
  return compiled;
}

std::vector<pid_t> RendererPool::idle_pids() const {
  MutexLock lock(&mutex_);
  std::vector<pid_t> pids;
  for (const Place& place : idle_) {
    if (place.process != nullptr) pids.push_back(place.process->pid());
  }
  return pids;
}

RendererPool::Place RendererPool::TakePlace() {
  Place place;
  std::vector<uint32_t> gone;
  {
    MutexLock lock(&mutex_);
    while (idle_.empty()) given_back_.Wait(&mutex_);
    // The place that was given back last. So with little to do, one process does it all, and the
    // others need not compile the templates too.
    place = std::move(idle_.back());
    idle_.pop_back();
    std::set_difference(place.compiled.begin(), place.compiled.end(), used_.begin(), used_.end(),
                        std::back_inserter(gone));
  }
  // Told only now, as a template must not wait for a busy process when it is destroyed. The process
  // is not null here: a place without one has compiled nothing.
  for (const uint32_t id : gone) {
    place.process->Forget(id);
    place.compiled.erase(id);
  }
  return place;
}

void RendererPool::GiveBack(Place place) {
  MutexLock lock(&mutex_);
  idle_.push_back(std::move(place));
  given_back_.Signal();
}

void RendererPool::Forget(uint32_t id) {
  MutexLock lock(&mutex_);
  used_.erase(id);
}

RendererResult RendererPool::CallAt(Place& place, uint32_t id, const std::string& source,
                                    const absl::string_view* variables) {
  // A process is replaced by the call that needs it, which can tell its caller if that fails.
  if (place.process == nullptr) {
    absl::StatusOr<std::unique_ptr<RendererProcess>> started = RendererProcess::Start(limits_);
    if (!started.ok()) return {RendererDeath::kOutside, started.status()};
    place = {*std::move(started), {}};
  }
  if (place.compiled.count(id) == 0) {
    RendererResult result = place.process->Call(RendererCall::kCompile, id, source);
    if (!result.text.ok()) return result;
    place.compiled.insert(id);
    if (variables == nullptr) return result;
  }
  return place.process->Call(RendererCall::kRender, id, *variables);
}

absl::StatusOr<std::string> RendererPool::Call(uint32_t id, const std::string& source,
                                               const absl::string_view* variables) {
  Place place = TakePlace();
  RendererResult result = {RendererDeath::kOutside, absl::UnavailableError("")};
  // A death by its own fault is not tried again: the template would only end the next process.
  for (int attempt = 0; attempt < 2 && result.death == RendererDeath::kOutside; ++attempt) {
    result = CallAt(place, id, source, variables);
    if (result.death != RendererDeath::kNone) {
      LOG(WARNING) << "a process that renders chat templates is replaced; the template: "
                   << result.text.status().message();
      place = {};
    }
  }
  if (place.process != nullptr && place.process->is_last()) place = {};
  // Given back even without a process, as the number of places never changes.
  GiveBack(std::move(place));
  return std::move(result.text);
}

}  // namespace phalanx
