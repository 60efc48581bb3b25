// The events of one turn of the engine's loop; a detail of Engine.
#ifndef PHALANX_WORKER_ENGINE_TURN_EVENTS_H_
#define PHALANX_WORKER_ENGINE_TURN_EVENTS_H_

#include <memory>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/types/span.h"
#include "worker/engine/event_sink.h"
#include "worker/engine/session_state.h"

namespace phalanx {

// Keeps the memory of events for those of later turns, so that a token costs no allocation.
// Thread-compatible.
class TurnEvents {
 public:
  // The event of that request, made if it has none yet. All that one turn says of a request must be
  // said in a row: only the latest event of a session is looked at.
  RequestEvent& For(const std::shared_ptr<SessionState>& session, RequestId id) {
    std::vector<RequestEvent>& events = events_[session];
    if (events.capacity() == 0 && !spare_lists_.empty()) {
      events = std::move(spare_lists_.back());
      spare_lists_.pop_back();
    }
    if (!events.empty() && events.back().id == id) return events.back();
    if (spare_.empty()) {
      events.emplace_back();
    } else {
      events.push_back(std::move(spare_.back()));
      spare_.pop_back();
    }
    events.back().id = id;
    return events.back();
  }

  // Gives `tell` the events of each session, and forgets them.
  void Take(absl::FunctionRef<void(SessionState&, absl::Span<const RequestEvent>)> tell) {
    for (auto& [session, events] : events_) {
      tell(*session, events);
      for (RequestEvent& event : events) spare_.push_back(Cleared(std::move(event)));
      events.clear();
      spare_lists_.push_back(std::move(events));
    }
    events_.clear();
  }

 private:
  // As new, but for the memory of what grows with every token.
  static RequestEvent Cleared(RequestEvent event) {
    RequestEvent cleared;
    cleared.token_ids = std::move(event.token_ids);
    cleared.token_ids.clear();
    return cleared;
  }

  absl::flat_hash_map<std::shared_ptr<SessionState>, std::vector<RequestEvent>> events_;
  std::vector<RequestEvent> spare_;
  std::vector<std::vector<RequestEvent>> spare_lists_;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_ENGINE_TURN_EVENTS_H_
