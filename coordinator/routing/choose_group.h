// Which worker group takes the next request.
#ifndef PHALANX_COORDINATOR_ROUTING_CHOOSE_GROUP_H_
#define PHALANX_COORDINATOR_ROUTING_CHOOSE_GROUP_H_

#include <cstdint>
#include <optional>

#include "absl/types/span.h"

namespace phalanx {

struct GroupCandidate {
  // Requests that run or wait in the group, whoever sent them.
  int requests = 0;
  // Tokens of prompts that were sent to the group and have not brought a first token yet.
  int64_t pending_prompt_tokens = 0;
  // Requests that were ever sent to the group.
  int64_t dispatched = 0;
  // The group refused a request a moment ago, because its queue was full or it drains.
  bool refused_lately = false;
};

// What a running request weighs, in tokens of prompt: about the steps for which it will compete.
inline constexpr int64_t kTokensPerRequest = 64;

// The index of the candidate with the least work ahead, which is pending_prompt_tokens +
// kTokensPerRequest * requests. Groups that refused lately come after all others. Among equals the
// one that was sent the fewest requests is chosen, then the first. nullopt if there are no
// candidates.
std::optional<int> ChooseGroup(absl::Span<const GroupCandidate> candidates);

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_ROUTING_CHOOSE_GROUP_H_
