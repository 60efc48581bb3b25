// What the engine's thread asks of an epoch of the group, and its end. How it comes to be is in
// group_forming.cc, its monitor in group_monitor.cc.
#include "worker/group/group_epoch.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/cpu_set.h"
#include "base/log.h"
#include "base/status.h"

namespace phalanx {
namespace {

// How long the monitor has to find out why a step failed. What the engine's thread sees says less.
constexpr absl::Duration kClueTimeout = absl::Seconds(1);

}  // namespace

GroupEpoch::GroupEpoch(const Options& options, std::vector<Survivor> survivors)
    : options_(options),
      sequence_(options_.epoch),
      members_(options_.world),
      stop_event_(eventfd(0, EFD_CLOEXEC)),
      pulse_watch_(options_.world, options_.stall_timeout),
      next_pulse_check_(MonotonicClock()->Now() + pulse_watch_.interval()) {
  for (Survivor& survivor : survivors) {
    Member& member = members_[survivor.rank];
    member.process = std::move(survivor.process);
    member.channel = std::move(survivor.channel);
    member.pid = survivor.pid;
    member.loaded = survivor.loaded;
  }
  if (options_.steps_in_flight > 1) {
    runner_ = std::make_unique<StepRunner>(StepRunner::Work{
        .launch_forward = [this](const auto& part) { return LaunchForward(part); },
        .launch_sampling = [this](const auto& part) { return LaunchSampling(part); },
        .await = [this] { return AwaitStep(); },
        .launches_ahead = [this] { return decoder_.load()->launches_ahead(); }});
  }
}

GroupEpoch::~GroupEpoch() { Stop(absl::ZeroDuration()); }

std::vector<GroupEpoch::RankInfo> GroupEpoch::ranks() const {
  MutexLock lock(&mutex_);
  std::vector<RankInfo> infos;
  for (const Member& member : members_) infos.push_back(member.info);
  return infos;
}

// The others get each part first, so that they compute while the leader does.
absl::Status GroupEpoch::Submit(Step step) {
  RETURN_IF_ERROR(lost());
  if (options_.world > 1) {
    sequence_.Encode(step.forward, &step.sampling, plan_message_.mutable_plan());
    RETURN_IF_ERROR(SendToRanks(plan_message_));
  }
  if (runner_ != nullptr) {
    runner_->Submit(std::move(step));
  } else {
    forward_to_run_ = std::move(step.forward);
    sampling_to_run_ = std::move(step.sampling);
  }
  return absl::OkStatus();
}

absl::Status GroupEpoch::SubmitForward(StepBlock forward) {
  RETURN_IF_ERROR(lost());
  if (options_.world > 1) {
    sequence_.Encode(forward, /*sampling=*/nullptr, plan_message_.mutable_plan());
    RETURN_IF_ERROR(SendToRanks(plan_message_));
  }
  if (runner_ != nullptr) {
    runner_->SubmitForward(std::move(forward));
  } else {
    forward_to_run_ = std::move(forward);
    sampling_to_run_.reset();
  }
  return absl::OkStatus();
}

absl::Status GroupEpoch::SubmitSampling(SamplingBlock sampling) {
  RETURN_IF_ERROR(lost());
  if (options_.world > 1) {
    sequence_.EncodeSampling(sampling, sampling_message_.mutable_sampling());
    RETURN_IF_ERROR(SendToRanks(sampling_message_));
  }
  if (runner_ != nullptr) {
    runner_->SubmitSampling(std::move(sampling));
  } else {
    sampling_to_run_ = std::move(sampling);
  }
  return absl::OkStatus();
}

absl::Status GroupEpoch::SendToRanks(const worker::v1::LeaderMessage& message) {
  for (int rank = 1; rank < options_.world; ++rank) {
    // If one cannot be sent to, the monitor will soon know more than that, for example how its
    // process ended.
    if (absl::Status status = members_[rank].channel->Send(message); !status.ok()) {
      return LoseBySymptom(absl::StrCat("rank ", rank, " is lost: ", status.message()), rank);
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<StepResult> GroupEpoch::Await() {
  if (runner_ != nullptr) return runner_->Await();
  if (!sampling_to_run_.has_value()) {
    return absl::AbortedError("the step was dropped before its sampling came");
  }
  RETURN_IF_ERROR(LaunchForward(*std::exchange(forward_to_run_, std::nullopt)));
  RETURN_IF_ERROR(LaunchSampling(*std::exchange(sampling_to_run_, std::nullopt)));
  return AwaitStep();
}

absl::Status GroupEpoch::LaunchForward(const StepBlock& forward) {
  // One thread launches all steps, and starts no others.
  thread_local const ScopedCpuPin pin(decoder_.load()->calling_cpus());
  {
    MutexLock lock(&mutex_);
    RETURN_IF_ERROR(loss_.cause);
    if (running_steps_.empty()) step_start_ = MonotonicClock()->Now();
    running_steps_.push_back({.number = ++steps_, .num_tokens = forward.counts().num_tokens});
  }
  const absl::Status status = decoder_.load()->LaunchForward(forward);
  return status.ok() ? status : Explain(status);
}

absl::Status GroupEpoch::LaunchSampling(const SamplingBlock& sampling) {
  const absl::Status status = decoder_.load()->LaunchSampling(sampling);
  return status.ok() ? status : Explain(status);
}

absl::StatusOr<StepResult> GroupEpoch::AwaitStep() {
  absl::StatusOr<StepResult> result = decoder_.load()->Await();
  {
    MutexLock lock(&mutex_);
    running_steps_.pop_front();
  }
  if (!result.ok()) return Explain(result.status());
  const absl::Time end = MonotonicClock()->Now();
  load_.Observe(end - step_start_, result->comm_time);
  options_.on_step(end - step_start_, *result);
  step_start_ = end;
  return result;
}

absl::Status GroupEpoch::Explain(const absl::Status& failure) {
  // ABORTED says only that a rank gave up and aborted the communicator, and UNAVAILABLE that the
  // way to one is broken, which may have given up because of yet another one. Why it did so reaches
  // the monitor in a moment.
  if (absl::IsAborted(failure) || absl::IsUnavailable(failure)) {
    return LoseBySymptom(failure.message(), /*rank=*/-1);
  }
  // A rank did not come to a collective in time. Callers get UNAVAILABLE, because they would take
  // DEADLINE_EXCEEDED for their own deadline.
  if (absl::IsDeadlineExceeded(failure)) {
    Lose({.cause = absl::UnavailableError(failure.message())});
  } else {
    // This rank itself is broken.
    Lose({.cause = failure, .final = true});
  }
  return lost();
}

absl::Status GroupEpoch::LoseBySymptom(absl::string_view symptom, int rank) {
  {
    const absl::Time deadline = MonotonicClock()->Now() + kClueTimeout;
    MutexLock lock(&mutex_);
    while (loss_.cause.ok() && MonotonicClock()->Now() < deadline) {
      changed_.WaitFor(&mutex_, deadline - MonotonicClock()->Now());
    }
  }
  // Has no effect if the monitor has found the cause: the first one stays.
  Lose({.cause = absl::UnavailableError(symptom), .rank = rank});
  return lost();
}

void GroupEpoch::Lose(const Loss& loss) {
  {
    MutexLock lock(&mutex_);
    // Only the first cause counts: a loss makes other ranks fail too.
    if (stopping_ || !loss_.cause.ok()) return;
    loss_ = loss;
    changed_.SignalAll();
  }
  if (options_.board != nullptr && loss.rank > 0) options_.board->Lost(loss.rank);
  LOG(ERROR) << "epoch " << options_.epoch << " of the group is lost: " << loss.cause.message();
  // Ranks that wait in a collective for the lost one give up.
  BreakOffStep();
  options_.on_lost(loss.cause);
}

GroupEpoch::Loss GroupEpoch::loss() const {
  MutexLock lock(&mutex_);
  return loss_;
}

absl::Status GroupEpoch::lost() const { return loss().cause; }

void GroupEpoch::Abandon() {
  {
    MutexLock lock(&mutex_);
    // stopping_ keeps Lose quiet about what this breaks. The loss is what Await returns, and makes
    // Submit refuse the next step.
    stopping_ = true;
    if (loss_.cause.ok()) {
      loss_ = {.cause = absl::CancelledError("the group was told to stop"), .final = true};
    }
    changed_.SignalAll();
  }
  BreakOffStep();
}

void GroupEpoch::BreakOffStep() {
  if (communicator_ != nullptr) communicator_->Abort();
  MutexLock lock(&mutex_);
  if (Decoder* const decoder = decoder_) decoder->Abort();
}

void GroupEpoch::EndMonitor() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
  }
  // The monitor uses the channels and the processes, so it has to end before they do.
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(stop_event_.get(), &one, sizeof(one));
  if (monitor_.joinable()) monitor_.join();
}

std::vector<GroupEpoch::Survivor> GroupEpoch::Retire() {
  EndMonitor();
  BreakOffStep();
  runner_.reset();
  const int lost_rank = loss().rank;
  worker::v1::LeaderMessage end;
  end.mutable_epoch_ends()->set_epoch(options_.epoch);
  std::vector<Survivor> survivors;
  for (int rank = 1; rank < options_.world; ++rank) {
    Member& member = members_[rank];
    // Kills the child if there is one. One that was started and has not joined yet is lost too.
    if (rank == lost_rank || member.channel == nullptr || !member.channel->Send(end).ok()) {
      member = Member();
      continue;
    }
    survivors.push_back({.rank = rank,
                         .process = std::move(member.process),
                         .channel = std::move(member.channel),
                         .pid = member.pid,
                         .loaded = member.loaded});
  }
  members_.clear();
  return survivors;
}

void GroupEpoch::Stop(absl::Duration timeout) {
  EndMonitor();
  worker::v1::LeaderMessage stop;
  stop.mutable_stop();
  for (Member& member : members_) {
    if (member.channel == nullptr) continue;
    // A rank that is gone already need not be told.
    member.channel->Send(stop).IgnoreError();
    // One that loads its weights does not look at its messages before it has them. It sees that the
    // connection has ended.
    if (!member.ready) member.channel.reset();
  }
  // All have been told before the first is waited for, so they leave at the same time and share one
  // deadline.
  const absl::Time deadline = MonotonicClock()->Now() + timeout;
  for (size_t rank = 1; rank < members_.size(); ++rank) {
    Member& member = members_[rank];
    const bool ended =
        member.process == nullptr || member.process->Wait(deadline - MonotonicClock()->Now());
    if (!ended && timeout > absl::ZeroDuration()) {
      LOG(WARNING) << "rank " << rank << " does not stop: killing it";
    }
    // The destructor kills a process that has not ended.
    member.channel.reset();
    member.process.reset();
  }
}

}  // namespace phalanx
