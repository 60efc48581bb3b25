#include "coordinator/routing/choose_group.h"

#include <algorithm>
#include <tuple>

namespace phalanx {

std::optional<int> ChooseGroup(absl::Span<const GroupCandidate> candidates) {
  if (candidates.empty()) return std::nullopt;
  const auto least = std::min_element(
      candidates.begin(), candidates.end(), [](const GroupCandidate& a, const GroupCandidate& b) {
        // Tuples compare by their first elements, then by the next where those are equal.
        const auto rank = [](const GroupCandidate& group) {
          return std::make_tuple(group.refused_lately,
                                 group.pending_prompt_tokens + kTokensPerRequest * group.requests,
                                 group.dispatched);
        };
        return rank(a) < rank(b);
      });
  return static_cast<int>(least - candidates.begin());
}

}  // namespace phalanx
