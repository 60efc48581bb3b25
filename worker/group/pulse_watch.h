// Tells a rank that is dead or stuck from one that is slow.
//
// Every process of the group says at a fixed interval that it lives and how far it has come in its
// step; that is all this class knows of it. A process that was stopped says nothing. One that
// computes says ever higher numbers, however long the step takes. One that hangs, or that waits for
// a rank that hangs, says the same number again and again; of these, the one that has come least
// far is the one that the others wait for.
#ifndef PHALANX_WORKER_GROUP_PULSE_WATCH_H_
#define PHALANX_WORKER_GROUP_PULSE_WATCH_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace phalanx {

// What runs on all ranks.
struct RunningStep {
  // Counted from 1.
  uint64_t number = 0;
  int num_tokens = 0;
};

// Thread-compatible. Counts turns of its owner's loop instead of reading a clock: when the owner
// itself was stopped, or the machine slept, nobody is blamed for the time.
class PulseWatch {
 public:
  // `timeout` is how long a rank may be silent, and how long the whole group may come no further in
  // a step. The latter is longer, in proportion, for a step of more than 64 tokens, and is never
  // less than four times the longest time after which a step has gone on, so that a slow machine is
  // known after its first step. At least a millisecond.
  PulseWatch(int world, absl::Duration timeout);

  // How often ranks are to send their pulse, and how often Turn is to be called.
  absl::Duration interval() const { return interval_; }

  // Says that the rank is there: its silence counts from now. Rank 0 is the owner and never silent.
  void Joined(int rank);
  // Says that a message of any kind came from the rank.
  void Heard(int rank);
  // Says how far the rank has come, as Decoder::progress has it.
  void Progressed(int rank, uint64_t progress);

  // To be called when an interval has passed, with the step that runs, if any. UNAVAILABLE, naming
  // the rank and the step, if a rank is dead or stuck.
  absl::Status Turn(std::optional<RunningStep> step);

  // The longest time that a rank has been silent for; zero if there is none.
  absl::Duration silence() const;
  // The rank that Turn has found to be dead or stuck; nullopt if it has found none.
  std::optional<int> rank_to_blame() const { return rank_to_blame_; }

 private:
  struct Pulse {
    bool joined = false;
    int64_t silent_turns = 0;
    uint64_t progress = 0;
  };

  absl::Status CheckSilence(const std::optional<RunningStep>& step);
  absl::Status CheckProgress(const std::optional<RunningStep>& step);

  const absl::Duration timeout_;
  const absl::Duration interval_;
  const int64_t max_turns_;
  std::vector<Pulse> pulses_;  // By rank.
  std::optional<int> rank_to_blame_;

  // The step that ran in the last turn, 0 if none did.
  uint64_t last_step_ = 0;
  // Turns since any rank came further in that step.
  int64_t stuck_turns_ = 0;
  // The most of these after which a step went on or ended.
  int64_t longest_stand_ = 0;
  // Whether any rank has come further since the last turn.
  bool progressed_ = false;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_GROUP_PULSE_WATCH_H_
