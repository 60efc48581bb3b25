// What an engine remembers of the steps that have ended.
#ifndef PHALANX_WORKER_ENGINE_STEP_RECORD_H_
#define PHALANX_WORKER_ENGINE_STEP_RECORD_H_

#include <array>
#include <cstdint>

#include "absl/time/time.h"

namespace phalanx {

// The last step, and how many tokens the steps of the last ten seconds had. Thread-compatible.
// Nothing allocates.
class StepRecord {
 public:
  struct EndedStep {
    absl::Duration time;
    int tokens = 0;
    int seqs = 0;
    // Tokens that it generated.
    int generated = 0;
  };
  struct Rates {
    double computed_tokens_per_second = 0;
    double generated_tokens_per_second = 0;
  };

  // Steps are added in the order in which they ended.
  void Add(const EndedStep& step, absl::Time end);

  // Steps that were added so far, and the last of them; all zero if there was none.
  int64_t ended() const { return ended_; }
  const EndedStep& last() const { return last_; }

  // Averages over the last kSeconds, or over the time since the first step began if that is less.
  // A step counts as a whole when it ends. Zero before the first step has ended.
  Rates RatesAt(absl::Time now) const;

 private:
  static constexpr int64_t kSeconds = 10;
  // What ended in one second, whose number tells which that was.
  struct Second {
    int64_t number = -1;
    int64_t tokens = 0;
    int64_t generated = 0;
  };

  int64_t SecondOf(absl::Time time) const { return (time - first_begin_) / absl::Seconds(1); }

  int64_t ended_ = 0;
  EndedStep last_;
  absl::Time first_begin_ = absl::InfinitePast();
  // Second n is at n % kSeconds.
  std::array<Second, kSeconds> seconds_;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_ENGINE_STEP_RECORD_H_
