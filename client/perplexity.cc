#include "client/perplexity.h"

#include <algorithm>
#include <cmath>

namespace phalanx {

std::vector<ScoreWindow> PlanWindows(int64_t num_tokens, int64_t window_tokens,
                                     int64_t stride_tokens) {
  std::vector<ScoreWindow> windows;
  int64_t covered = 0;
  for (int64_t begin = 0; covered < num_tokens; begin += stride_tokens) {
    const int64_t end = std::min(begin + window_tokens, num_tokens);
    // Tokens of earlier windows do not count again, and the first of a window follows nothing in
    // it.
    const ScoreWindow window{begin, end, std::max(covered, begin + 1)};
    if (window.first_counted < end) windows.push_back(window);
    covered = end;
  }
  return windows;
}

void PerplexitySum::Add(absl::Span<const float> log_probs) {
  for (const float log_prob : log_probs) nats_ -= log_prob;
  num_tokens_ += static_cast<int64_t>(log_probs.size());
}

double PerplexitySum::perplexity() const { return std::exp(nats_per_token()); }

}  // namespace phalanx
