// Receives a rank's steps on a thread of its own.
#ifndef PHALANX_WORKER_GROUP_STEP_READER_H_
#define PHALANX_WORKER_GROUP_STEP_READER_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <thread>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "worker/group/rank_channel.h"
#include "worker/step/step.h"

namespace phalanx {

// So that the leader, which may send a step while another one runs, never waits for a rank to read.
// One thread makes all calls.
class StepReader {
 public:
  // How many steps are kept at most, until Next takes them.
  static constexpr size_t kMaxSteps = 2;

  // Reads from `channel`, which is lent and which nobody else may receive from, until the leader
  // says stop, `interrupt_fd` (-1 for none) becomes readable, or an error.
  StepReader(RankChannel* channel, uint64_t epoch, int interrupt_fd);
  StepReader(const StepReader&) = delete;
  StepReader& operator=(const StepReader&) = delete;
  // Does not wait for the leader.
  ~StepReader();

  // Blocks for the next step. nullopt if the leader says stop; the errors of RankChannel::Receive
  // and StepSequence::Decode, after the steps that came before. Not to be called after either.
  absl::StatusOr<std::optional<Step>> Next();

  // Waits at most for `patience`, and returns whether Next would give a step at once.
  bool HasStep(absl::Duration patience);

 private:
  using Entry = absl::StatusOr<std::optional<Step>>;

  void Loop(uint64_t epoch, int interrupt_fd);
  // Returns whether more may be read: false after the last entry, and in the destructor.
  bool Put(Entry entry);

  RankChannel& channel_;
  const UniqueFd stop_event_;
  Mutex mutex_;
  // Signalled when an entry comes.
  CondVar came_;
  // Signalled when an entry is taken, or the thread is to end.
  CondVar taken_;
  std::deque<Entry> entries_ GUARDED_BY(mutex_);
  bool stopping_ GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_GROUP_STEP_READER_H_
