// Which worker group takes the next request.
#ifndef PHALANX_COORDINATOR_ROUTING_CHOOSE_GROUP_H_
#define PHALANX_COORDINATOR_ROUTING_CHOOSE_GROUP_H_

#include <cstdint>
#include <optional>

#include "absl/types/span.h"

namespace phalanx {

struct GroupCandidate {
  // Running or waiting in the group, whoever sent them.
  int requests = 0;
  // Prompts that were sent and have not brought a first token yet.
  int64_t pending_prompt_tokens = 0;
  // Requests ever sent to the group.
  int64_t dispatched = 0;
  // It turned a request away a moment ago: its queue was full, or it drains.
  bool refused_lately = false;
};

// What a running request weighs, in tokens of prompt: about the steps for which it will compete.
inline constexpr int64_t kTokensPerRequest = 64;

// Index of the candidate with the least work ahead: pending_prompt_tokens + kTokensPerRequest *
// requests. Those that refused lately come after all others. Ties go to the one that was sent
// fewest requests, then to the first. nullopt without candidates.
std::optional<int> ChooseGroup(absl::Span<const GroupCandidate> candidates);

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_ROUTING_CHOOSE_GROUP_H_
