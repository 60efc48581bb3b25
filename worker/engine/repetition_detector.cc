#include "worker/engine/repetition_detector.h"

#include <algorithm>

namespace phalanx {

RepetitionDetector::RepetitionDetector(const RepetitionLimit& limit)
    : limit_(limit), recent_(limit.max_period_tokens), matches_(limit.max_period_tokens) {}

bool RepetitionDetector::Add(int32_t token) {
  const auto size = static_cast<int64_t>(recent_.size());
  bool repeats = false;
  for (int64_t period = 1; period <= std::min(size, count_); ++period) {
    int64_t& matches = matches_[period - 1];
    matches = recent_[(count_ - period) % size] == token ? matches + 1 : 0;
    // The first copy matches nothing before it.
    const int64_t repeated = matches + period;
    repeats |= repeated >= period * limit_.times && repeated >= limit_.min_tokens;
  }
  recent_[count_++ % size] = token;
  return repeats;
}

}  // namespace phalanx
