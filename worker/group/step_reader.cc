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

bool StepReader::HasPart(absl::Duration patience) {
  const absl::Time deadline = MonotonicClock()->Now() + patience;
  MutexLock lock(&mutex_);
  while (entries_.empty()) {
    const absl::Duration left = deadline - MonotonicClock()->Now();
    if (left <= absl::ZeroDuration()) return false;
    came_.WaitFor(&mutex_, left);
  }
  return entries_.front().ok() && !std::holds_alternative<End>(*entries_.front());
}

bool StepReader::Put(Entry entry) {
  MutexLock lock(&mutex_);
  const bool is_last = !entry.ok() || std::holds_alternative<End>(*entry);
  while (entries_.size() >= kMaxParts && !stopping_) taken_.Wait(&mutex_);
  entries_.push_back(std::move(entry));
  came_.Signal();
  return !is_last && !stopping_;
}

absl::Status StepReader::Receive(uint64_t epoch, int interrupt_fd) {
  while (true) {
    RETURN_IF_ERROR(
        channel_.Receive(&message_, {.interrupt_fd = interrupt_fd, .stop_fd = stop_event_.get()}));
    // What was on its way when the epoch ended that it belongs to does not count.
    if (message_.has_plan() && message_.plan().epoch() < epoch) continue;
    if (message_.has_sampling() && message_.sampling().epoch() < epoch) continue;
    return absl::OkStatus();
  }
}

bool StepReader::ReadAndPut(uint64_t epoch, int interrupt_fd, StepSequence& sequence) {
  if (absl::Status status = Receive(epoch, interrupt_fd); !status.ok()) return Put(status);
  if (message_.has_stop()) return Put(End::kStop);
  if (message_.has_epoch_ends()) {
    on_epoch_end_();
    return Put(End::kEpochEnds);
  }
  if (message_.has_sampling()) {
    absl::StatusOr<SamplingBlock> sampling = sequence.DecodeSampling(message_.sampling());
    return sampling.ok() ? Put(*std::move(sampling)) : Put(sampling.status());
  }
  absl::StatusOr<StepSequence::Parts> parts = sequence.Decode(message_.plan());
  if (!parts.ok()) return Put(parts.status());
  if (!Put(std::move(parts->forward))) return false;
  return !parts->sampling.has_value() || Put(*std::move(parts->sampling));
}

void StepReader::Loop(uint64_t epoch, int interrupt_fd) {
  StepSequence sequence(epoch);
  while (ReadAndPut(epoch, interrupt_fd, sequence)) {
  }
}

}  // namespace phalanx
