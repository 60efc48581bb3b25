#include "worker/engine/step_record.h"

#include <algorithm>

namespace phalanx {

void StepRecord::Add(const EndedStep& step, absl::Time end) {
  if (ended_++ == 0) first_begin_ = end - step.time;
  last_ = step;
  const int64_t number = SecondOf(end);
  Second& second = seconds_[number % kSeconds];
  // What is there is of ten seconds ago, or of longer ago.
  if (second.number != number) second = {.number = number};
  second.tokens += step.tokens;
  second.generated += step.generated;
}

StepRecord::Rates StepRecord::RatesAt(absl::Time now) const {
  if (ended_ == 0) return {};
  // The seconds before this one, as far as there are that many, and what has passed of this one.
  const int64_t number = SecondOf(now);
  const int64_t first = std::max<int64_t>(0, number - (kSeconds - 1));
  const double span = absl::ToDoubleSeconds(now - first_begin_) - static_cast<double>(first);
  if (span <= 0) return {};
  int64_t tokens = 0;
  int64_t generated = 0;
  for (const Second& second : seconds_) {
    if (second.number < first) continue;
    tokens += second.tokens;
    generated += second.generated;
  }
  return {static_cast<double>(tokens) / span, static_cast<double>(generated) / span};
}

}  // namespace phalanx
