// What the engine's thread asks of the group; its monitor is in group_monitor.cc.
#include "worker/group/group_leader.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/status.h"

namespace phalanx {

absl::StatusOr<std::unique_ptr<GroupLeader>> GroupLeader::Start(Options options) {
  std::unique_ptr<GroupLeader> leader(new GroupLeader(std::move(options)));
  RETURN_IF_ERROR(leader->Form());
  return leader;
}

GroupLeader::GroupLeader(Options options)
    : options_(std::move(options)),
      sequence_(options_.epoch),
      members_(options_.world),
      stop_event_(eventfd(0, EFD_CLOEXEC)),
      pulse_watch_(options_.world, options_.stall_timeout),
      next_pulse_check_(MonotonicClock()->Now() + pulse_watch_.interval()) {
  if (options_.steps_in_flight > 1) {
    runner_ = std::make_unique<StepRunner>(
        StepRunner::Work{.launch = [this](const Step& step) { return LaunchStep(step); },
                         .await = [this] { return AwaitStep(); },
                         .launches_ahead = [this] { return decoder_.load()->launches_ahead(); }});
  }
}

GroupLeader::~GroupLeader() { Stop(absl::ZeroDuration()); }

absl::Status GroupLeader::Form() {
  ASSIGN_OR_RETURN(CommunicatorFactory::Meeting meeting,
                   options_.communicators->Meet(options_.world, options_.step_timeout));
  communicator_ = std::move(meeting.communicator);
  // A group of one has a monitor too: it watches the leader's own progress.
  if (options_.world == 1) {
    monitor_ = std::thread([this] { Monitor(nullptr); });
    return absl::OkStatus();
  }
  // Before the ranks are started, so that they find it at the first try.
  ASSIGN_OR_RETURN(UnixListener listener, UnixListener::Create(options_.address));
  RETURN_IF_ERROR(StartRanks());
  if (!options_.rank_command) LOG(INFO) << "waiting for ranks at " << options_.address;
  auto reception = std::make_unique<RankReception>(std::move(listener), options_.handshake_timeout);
  // Before the monitor is started, which sends it to ranks and takes no lock for it.
  invitation_ = std::move(meeting.invitation);
  monitor_ =
      std::thread([this, owned = std::move(reception)]() mutable { Monitor(std::move(owned)); });
  return AwaitJoins();
}

absl::Status GroupLeader::StartRanks() {
  if (!options_.rank_command) return absl::OkStatus();
  for (int rank = 1; rank < options_.world; ++rank) {
    ASSIGN_OR_RETURN(members_[rank].process, RankProcess::Start(options_.rank_command(rank)));
  }
  return absl::OkStatus();
}

absl::Status GroupLeader::AwaitJoins() {
  const absl::Time deadline = MonotonicClock()->Now() + options_.startup_timeout;
  MutexLock lock(&mutex_);
  while (lost_.ok()) {
    const auto missing = std::find_if(members_.begin() + 1, members_.end(),
                                      [](const Member& member) { return !member.joined; });
    if (missing == members_.end()) return absl::OkStatus();
    const absl::Duration left = deadline - MonotonicClock()->Now();
    if (left <= absl::ZeroDuration()) {
      return absl::UnavailableError(absl::StrCat("rank ", missing - members_.begin(),
                                                 " did not join within ",
                                                 absl::FormatDuration(options_.startup_timeout)));
    }
    changed_.WaitFor(&mutex_, left);
  }
  return lost_;
}

absl::Status GroupLeader::Admit(RankReception::Arrival arrival) {
  const absl::StatusOr<int> rank = CheckJoin(arrival.join);
  worker::v1::LeaderMessage answer;
  if (!rank.ok()) {
    answer.mutable_refused()->set_message(std::string(rank.status().message()));
    arrival.channel->Send(answer).IgnoreError();
    return rank.status();
  }
  worker::v1::Welcome* const welcome = answer.mutable_welcome();
  welcome->set_epoch(options_.epoch);
  welcome->set_max_step_tokens(options_.limits.max_step_tokens);
  welcome->set_max_seqs(options_.limits.max_seqs);
  welcome->set_max_blocks_per_seq(options_.limits.max_blocks_per_seq);
  welcome->set_kv_blocks(options_.limits.kv_blocks);
  welcome->set_rendezvous(invitation_.rendezvous);
  welcome->set_pulse_ms(static_cast<int32_t>(absl::ToInt64Milliseconds(pulse_watch_.interval())));
  // The place stays free for another process with this rank's number. If the rank was a child of
  // ours, its end is seen by WatchedFd, and the group is lost then.
  if (absl::Status status = arrival.channel->Send(answer, invitation_.fd); !status.ok()) {
    LOG(WARNING) << "rank " << *rank << " was gone before it was let in: " << status.message();
    return absl::OkStatus();
  }
  LOG(INFO) << "rank " << *rank << " has joined: process " << arrival.pid;
  Member& member = members_[*rank];
  // Not under the lock: other threads look at a channel only after AwaitJoins has seen all
  // `joined`, which are set under it.
  member.channel = std::move(arrival.channel);
  pulse_watch_.Joined(*rank);
  MutexLock lock(&mutex_);
  member.pid = arrival.pid;
  member.joined = true;
  changed_.SignalAll();
  return absl::OkStatus();
}

absl::StatusOr<int> GroupLeader::CheckJoin(const worker::v1::Join& join) const {
  const int rank = join.rank();
  if (rank < 1 || rank >= options_.world || join.world() != options_.world) {
    return absl::FailedPreconditionError(
        absl::StrCat("rank ", rank, " of ", join.world(), " joined a group of ", options_.world));
  }
  if (members_[rank].channel != nullptr) {
    return absl::FailedPreconditionError(absl::StrCat("rank ", rank, " joined twice"));
  }
  RETURN_IF_ERROR(CheckSameIdentity(rank, IdentityFrom(join), options_.identity));
  return rank;
}

bool GroupLeader::AllJoined() const {
  return std::all_of(members_.begin() + 1, members_.end(),
                     [](const Member& member) { return member.channel != nullptr; });
}

absl::Status GroupLeader::CheckWeights(absl::string_view weights_digest) const {
  for (size_t rank = 1; rank < members_.size(); ++rank) {
    const std::string& others = members_[rank].info.weights_digest;
    if (others == weights_digest) continue;
    return absl::FailedPreconditionError(
        absl::StrCat("rank ", rank, " has other weights under the same headers: digest ", others,
                     " instead of ", weights_digest,
                     "; one of the two files is damaged or of "
                     "another version"));
  }
  return absl::OkStatus();
}

absl::Status GroupLeader::AwaitReady(Decoder* decoder, absl::string_view weights_digest) {
  decoder_ = decoder;
  absl::Status status = AwaitReadyRanks(weights_digest);
  // The caller may let the decoder go.
  if (!status.ok()) {
    MutexLock lock(&mutex_);
    decoder_ = nullptr;
  }
  return status;
}

absl::Status GroupLeader::AwaitReadyRanks(absl::string_view weights_digest) {
  const absl::Time deadline = MonotonicClock()->Now() + options_.startup_timeout;
  MutexLock lock(&mutex_);
  while (lost_.ok()) {
    const auto late = std::find_if(members_.begin() + 1, members_.end(),
                                   [](const Member& member) { return !member.ready; });
    if (late == members_.end()) return CheckWeights(weights_digest);
    const absl::Duration left = deadline - MonotonicClock()->Now();
    if (left <= absl::ZeroDuration()) {
      return absl::UnavailableError(absl::StrCat("rank ", late - members_.begin(),
                                                 " was not ready within ",
                                                 absl::FormatDuration(options_.startup_timeout)));
    }
    changed_.WaitFor(&mutex_, left);
  }
  return lost_;
}

std::vector<GroupLeader::RankInfo> GroupLeader::ranks() const {
  MutexLock lock(&mutex_);
  std::vector<RankInfo> infos;
  for (const Member& member : members_) infos.push_back(member.info);
  return infos;
}

absl::Status GroupLeader::Submit(Step step) {
  RETURN_IF_ERROR(lost());
  // The others get the plan first, so that they compute while the leader does. If one cannot be
  // sent to, the monitor will soon know more than that, for example how its process ended.
  if (options_.world > 1) sequence_.Encode(step, plan_message_.mutable_plan());
  for (int rank = 1; rank < options_.world; ++rank) {
    if (absl::Status status = members_[rank].channel->Send(plan_message_); !status.ok()) {
      return LoseBySymptom(absl::StrCat("rank ", rank, " is lost: ", status.message()));
    }
  }
  if (runner_ != nullptr) {
    runner_->Submit(std::move(step));
  } else {
    steps_to_run_.push_back(std::move(step));
  }
  return absl::OkStatus();
}

absl::StatusOr<StepResult> GroupLeader::Await() {
  if (runner_ != nullptr) return runner_->Await();
  const Step step = std::move(steps_to_run_.front());
  steps_to_run_.pop_front();
  RETURN_IF_ERROR(LaunchStep(step));
  return AwaitStep();
}

absl::Status GroupLeader::LaunchStep(const Step& step) {
  {
    MutexLock lock(&mutex_);
    RETURN_IF_ERROR(lost_);
    running_steps_.push_back({.number = ++steps_, .num_tokens = step.forward.counts().num_tokens});
  }
  const absl::Status status = decoder_.load()->Launch(step);
  return status.ok() ? status : Explain(status);
}

absl::StatusOr<StepResult> GroupLeader::AwaitStep() {
  absl::StatusOr<StepResult> result = decoder_.load()->Await();
  {
    MutexLock lock(&mutex_);
    running_steps_.pop_front();
  }
  return result.ok() ? std::move(result) : Explain(result.status());
}

absl::Status GroupLeader::Explain(const absl::Status& failure) {
  // ABORTED says only that a rank gave up and aborted the communicator. Why it did so reaches the
  // monitor in a moment.
  if (absl::IsAborted(failure)) return LoseBySymptom(failure.message());
  // A rank did not come to a collective in time. Callers get UNAVAILABLE, because they would take
  // DEADLINE_EXCEEDED for their own deadline.
  const bool hangs = absl::IsDeadlineExceeded(failure);
  Lose(hangs ? absl::UnavailableError(failure.message()) : failure);
  return lost();
}

void GroupLeader::Abandon() {
  {
    MutexLock lock(&mutex_);
    // stopping_ keeps Lose quiet about what this breaks. lost_ is what Await returns, and makes
    // Submit refuse the next step.
    stopping_ = true;
    if (lost_.ok()) lost_ = absl::CancelledError("the group was told to stop");
    changed_.SignalAll();
  }
  BreakOffStep();
}

void GroupLeader::BreakOffStep() {
  communicator_->Abort();
  MutexLock lock(&mutex_);
  if (Decoder* const decoder = decoder_) decoder->Abort();
}

void GroupLeader::Stop(absl::Duration timeout) {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
  }
  // The monitor uses the channels and the processes, so it has to end before they do.
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(stop_event_.get(), &one, sizeof(one));
  if (monitor_.joinable()) monitor_.join();
  worker::v1::LeaderMessage stop;
  stop.mutable_stop();
  for (Member& member : members_) {
    if (member.channel == nullptr) continue;
    // A rank that is gone already need not be told.
    member.channel->Send(stop).IgnoreError();
  }
  // All have been told before the first is waited for, so they leave at the same time and share one
  // deadline.
  const absl::Time deadline = MonotonicClock()->Now() + timeout;
  for (int rank = 1; rank < options_.world; ++rank) {
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
