#include "worker/group/step_reader.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <utility>

#include "base/clock.h"
#include "phalanx/worker/v1/rank.pb.h"
#include "worker/group/step_plan_codec.h"

namespace phalanx {

StepReader::StepReader(RankChannel* channel, uint64_t epoch, int interrupt_fd)
    : channel_(*channel),
      stop_event_(eventfd(0, EFD_CLOEXEC)),
      thread_([this, epoch, interrupt_fd] { Loop(epoch, interrupt_fd); }) {}

StepReader::~StepReader() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
    taken_.Signal();
  }
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(stop_event_.get(), &one, sizeof(one));
  thread_.join();
}

absl::StatusOr<std::optional<Step>> StepReader::Next() {
  MutexLock lock(&mutex_);
  while (entries_.empty()) came_.Wait(&mutex_);
  Entry entry = std::move(entries_.front());
  entries_.pop_front();
  taken_.Signal();
  return entry;
}

bool StepReader::HasStep(absl::Duration patience) {
  const absl::Time deadline = MonotonicClock()->Now() + patience;
  MutexLock lock(&mutex_);
  while (entries_.empty()) {
    const absl::Duration left = deadline - MonotonicClock()->Now();
    if (left <= absl::ZeroDuration()) return false;
    came_.WaitFor(&mutex_, left);
  }
  return entries_.front().ok() && entries_.front()->has_value();
}

bool StepReader::Put(Entry entry) {
  MutexLock lock(&mutex_);
  const bool is_last = !entry.ok() || !entry->has_value();
  while (entries_.size() >= kMaxSteps && !stopping_) taken_.Wait(&mutex_);
  entries_.push_back(std::move(entry));
  came_.Signal();
  return !is_last && !stopping_;
}

void StepReader::Loop(uint64_t epoch, int interrupt_fd) {
  StepSequence sequence(epoch);
  // Outside the loop, so that its memory is used again for every step.
  worker::v1::LeaderMessage message;
  const auto read = [&]() -> Entry {
    const absl::Status received =
        channel_.Receive(&message, {.interrupt_fd = interrupt_fd, .stop_fd = stop_event_.get()});
    if (!received.ok()) return received;
    if (message.has_stop()) return std::nullopt;
    return sequence.Decode(message.plan());
  };
  while (Put(read())) {
  }
}

}  // namespace phalanx
