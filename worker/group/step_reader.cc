#include "worker/group/step_reader.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <utility>

#include "base/clock.h"
#include "base/status.h"
#include "phalanx/worker/v1/rank.pb.h"
#include "worker/group/step_plan_codec.h"

namespace phalanx {

StepReader::StepReader(RankChannel* channel, uint64_t epoch, int interrupt_fd,
                       std::function<void()> on_epoch_end)
    : channel_(*channel),
      on_epoch_end_(std::move(on_epoch_end)),
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

StepReader::Entry StepReader::Next() {
  MutexLock lock(&mutex_);
  if (end_.has_value()) return end_->ok() ? Entry(**end_) : Entry(end_->status());
  while (entries_.empty()) came_.Wait(&mutex_);
  Entry entry = std::move(entries_.front());
  entries_.pop_front();
  if (!entry.ok()) {
    end_ = entry.status();
  } else if (const End* const end = std::get_if<End>(&*entry)) {
    end_ = *end;
  }
  taken_.Signal();
  return entry;
}

absl::StatusOr<StepReader::End> StepReader::SkipToEnd() {
  while (true) {
    ASSIGN_OR_RETURN(const auto entry, Next());
    if (const End* const end = std::get_if<End>(&entry)) return *end;
  }
}

bool StepReader::HasStep(absl::Duration patience) {
  const absl::Time deadline = MonotonicClock()->Now() + patience;
  MutexLock lock(&mutex_);
  while (entries_.empty()) {
    const absl::Duration left = deadline - MonotonicClock()->Now();
    if (left <= absl::ZeroDuration()) return false;
    came_.WaitFor(&mutex_, left);
  }
  return entries_.front().ok() && std::holds_alternative<Step>(*entries_.front());
}

bool StepReader::Put(Entry entry) {
  MutexLock lock(&mutex_);
  const bool is_last = !entry.ok() || std::holds_alternative<End>(*entry);
  while (entries_.size() >= kMaxSteps && !stopping_) taken_.Wait(&mutex_);
  entries_.push_back(std::move(entry));
  came_.Signal();
  return !is_last && !stopping_;
}

StepReader::Entry StepReader::Read(uint64_t epoch, int interrupt_fd, StepSequence& sequence) {
  while (true) {
    RETURN_IF_ERROR(
        channel_.Receive(&message_, {.interrupt_fd = interrupt_fd, .stop_fd = stop_event_.get()}));
    if (message_.has_stop()) return End::kStop;
    if (message_.has_epoch_ends()) {
      on_epoch_end_();
      return End::kEpochEnds;
    }
    // It was on its way when the epoch ended that it belongs to.
    if (message_.plan().epoch() < epoch) continue;
    ASSIGN_OR_RETURN(Step step, sequence.Decode(message_.plan()));
    return step;
  }
}

void StepReader::Loop(uint64_t epoch, int interrupt_fd) {
  StepSequence sequence(epoch);
  while (Put(Read(epoch, interrupt_fd, sequence))) {
  }
}

}  // namespace phalanx
