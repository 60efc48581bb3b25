// Receives a rank's steps on a thread of its own.
#ifndef PHALANX_WORKER_GROUP_STEP_READER_H_
#define PHALANX_WORKER_GROUP_STEP_READER_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <thread>
#include <variant>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "base/unique_fd.h"
#include "phalanx/worker/v1/rank.pb.h"
#include "worker/group/rank_channel.h"
#include "worker/group/step_plan_codec.h"
#include "worker/step/step.h"

namespace phalanx {

// So that the leader, which may send a step while another one runs, never waits for a rank to read.
// One thread makes all calls.
class StepReader {
 public:
  // How many parts of steps are kept at most, until Next takes them: those of two steps.
  static constexpr size_t kMaxParts = 4;

  // How the steps of an epoch end, if no error ends them.
  enum class End { kStop, kEpochEnds };

  // Reads from `channel`, which is lent and which nobody else may receive from, until the leader
  // says stop or ends the epoch, `interrupt_fd` (-1 for none) becomes readable, or an error. Plans
  // of earlier epochs are dropped. `on_epoch_end` is called by the reader's thread as soon as the
  // leader has ended the epoch, while the steps before that may still run.
  StepReader(RankChannel* channel, uint64_t epoch, int interrupt_fd,
             std::function<void()> on_epoch_end);
  StepReader(const StepReader&) = delete;
  StepReader& operator=(const StepReader&) = delete;
  // Does not wait for the leader.
  ~StepReader();

  // The parts of a step, one after the other, or the end.
  using Entry = absl::StatusOr<std::variant<StepBlock, SamplingBlock, End>>;

  // Blocks for the next part of a step, or how they end; the errors of RankChannel::Receive and
  // StepSequence::Decode, after the parts that came before. The two parts of steps alternate. Once
  // it has told an end or an error it tells that again.
  Entry Next();

  // Drops the steps that come, and returns how they end.
  absl::StatusOr<End> SkipToEnd();

  // Waits at most for `patience`, and returns whether Next would give a part of a step at once.
  bool HasPart(absl::Duration patience);

 private:
  void Loop(uint64_t epoch, int interrupt_fd);
  // Reads the next message and puts what it has. Returns whether more may be read.
  bool ReadAndPut(uint64_t epoch, int interrupt_fd, StepSequence& sequence);
  // Receives the next message that counts.
  absl::Status Receive(uint64_t epoch, int interrupt_fd);
  // Returns whether more may be read: false after the last entry, and in the destructor.
  bool Put(Entry entry);

  RankChannel& channel_;
  const std::function<void()> on_epoch_end_;
  // Only the reader's thread uses it. A member, so that its memory is used again for every step.
  worker::v1::LeaderMessage message_;
  const UniqueFd stop_event_;
  Mutex mutex_;
  // Signalled when an entry comes.
  CondVar came_;
  // Signalled when an entry is taken, or the thread is to end.
  CondVar taken_;
  std::deque<Entry> entries_ GUARDED_BY(mutex_);
  // What Next has told last, if no step can follow.
  std::optional<absl::StatusOr<End>> end_ GUARDED_BY(mutex_);
  bool stopping_ GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_GROUP_STEP_READER_H_
