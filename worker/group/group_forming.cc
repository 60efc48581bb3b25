// How an epoch of a group comes to be: survivors of the epoch before come over, ranks that are
// missing are started and let in, and all say that they are ready.
#include <algorithm>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/status.h"
#include "worker/group/group_epoch.h"

namespace phalanx {

absl::Status GroupEpoch::Form() {
  ASSIGN_OR_RETURN(CommunicatorFactory::Meeting meeting,
                   options_.communicators->Meet(options_.world, options_.step_timeout));
  if (options_.tcp.has_value() && meeting.invitation.fd >= 0) {
    return absl::FailedPreconditionError(
        "this transport of the ranks shares memory, which works on one host only");
  }
  communicator_ = std::move(meeting.communicator);
  // A group of one has a monitor too: it watches the leader's own progress.
  if (options_.world == 1) {
    monitor_ = std::thread([this] { Monitor(nullptr); });
    return absl::OkStatus();
  }
  // Before the monitor is started, which sends it to ranks and takes no lock for it.
  invitation_ = std::move(meeting.invitation);
  CallSurvivors();
  std::unique_ptr<RankReception> reception;
  if (!AllJoined()) {
    // Before the ranks are started, so that they find it at the first try.
    const RankMeeting meeting_place{options_.address, options_.tcp};
    ASSIGN_OR_RETURN(std::unique_ptr<RankListener> listener, ListenForRanks(meeting_place));
    RETURN_IF_ERROR(StartRanks());
    if (!options_.rank_command) LOG(INFO) << "waiting for ranks at " << meeting_place.ToString();
    reception = std::make_unique<RankReception>(
        std::move(listener), options_.handshake_timeout,
        options_.tcp.has_value() ? options_.tcp->secret : std::nullopt);
  }
  monitor_ =
      std::thread([this, owned = std::move(reception)]() mutable { Monitor(std::move(owned)); });
  return AwaitJoins();
}

void GroupEpoch::CallSurvivors() {
  worker::v1::LeaderMessage call;
  call.mutable_new_epoch()->set_epoch(options_.epoch);
  call.mutable_new_epoch()->set_rendezvous(invitation_.rendezvous);
  for (int rank = 1; rank < options_.world; ++rank) {
    Member& member = members_[rank];
    if (member.channel == nullptr) continue;
    if (absl::Status status = member.channel->Send(call, invitation_.fd); !status.ok()) {
      LOG(WARNING) << "rank " << rank << " is gone too: " << status.message();
      member = Member();
      continue;
    }
    pulse_watch_.Joined(rank);
    if (member.loaded) member.fence_deadline = MonotonicClock()->Now() + options_.stall_timeout;
    MutexLock lock(&mutex_);
    member.joined = true;
  }
}

absl::Status GroupEpoch::StartRanks() {
  if (!options_.rank_command) return absl::OkStatus();
  for (int rank = 1; rank < options_.world; ++rank) {
    if (members_[rank].channel != nullptr) continue;
    ASSIGN_OR_RETURN(members_[rank].process, RankProcess::Start(options_.rank_command(rank)));
  }
  return absl::OkStatus();
}

absl::Status GroupEpoch::AwaitJoins() {
  const absl::Time deadline = MonotonicClock()->Now() + options_.startup_timeout;
  MutexLock lock(&mutex_);
  while (loss_.cause.ok()) {
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
  return loss_.cause;
}

absl::Status GroupEpoch::Admit(RankReception::Arrival arrival) {
  const absl::StatusOr<int> rank = CheckJoin(arrival.join);
  worker::v1::LeaderMessage answer;
  if (!rank.ok()) {
    answer.mutable_refused()->set_message(std::string(rank.status().message()));
    arrival.channel->Send(answer).IgnoreError();
    if (IsChild(arrival.pid)) return rank.status();
    // Another process may take the place that this one wanted.
    LOG(WARNING) << "turned away " << arrival.channel->peer()
                 << ", which wanted to join: " << rank.status().message();
    return absl::OkStatus();
  }
  FillWelcome(answer.mutable_welcome());
  answer.mutable_welcome()->set_proof(arrival.leaders_proof);
  // The place stays free for another process with this rank's number. If the rank was a child of
  // ours, its end is seen by WatchedFd, and the group is lost then.
  if (absl::Status status = arrival.channel->Send(answer, invitation_.fd); !status.ok()) {
    LOG(WARNING) << "rank " << *rank << " was gone before it was let in: " << status.message();
    return absl::OkStatus();
  }
  LOG(INFO) << "rank " << *rank << " has joined: " << arrival.channel->peer();
  Member& member = members_[*rank];
  // Not under the lock: other threads look at a channel only after AwaitJoins has seen all
  // `joined`, which are set under it.
  member.channel = std::move(arrival.channel);
  member.fenced = true;
  pulse_watch_.Joined(*rank);
  if (options_.board != nullptr) {
    options_.board->Joined(*rank, arrival.pid, MonotonicClock()->Now());
  }
  MutexLock lock(&mutex_);
  member.pid = arrival.pid;
  member.joined = true;
  changed_.SignalAll();
  return absl::OkStatus();
}

void GroupEpoch::FillWelcome(worker::v1::Welcome* welcome) const {
  welcome->set_epoch(options_.epoch);
  welcome->set_max_step_tokens(options_.limits.max_step_tokens);
  welcome->set_max_seqs(options_.limits.max_seqs);
  welcome->set_max_blocks_per_seq(options_.limits.max_blocks_per_seq);
  welcome->set_kv_blocks(options_.limits.kv_blocks);
  welcome->set_rendezvous(invitation_.rendezvous);
  welcome->set_pulse_ms(static_cast<int32_t>(absl::ToInt64Milliseconds(pulse_watch_.interval())));
}

absl::StatusOr<int> GroupEpoch::CheckJoin(const worker::v1::Join& join) const {
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

bool GroupEpoch::IsChild(pid_t pid) const {
  return std::any_of(members_.begin() + 1, members_.end(), [pid](const Member& member) {
    return member.process != nullptr && member.process->pid() == pid;
  });
}

bool GroupEpoch::AllJoined() const {
  return std::all_of(members_.begin() + 1, members_.end(),
                     [](const Member& member) { return member.channel != nullptr; });
}

absl::Status GroupEpoch::CheckWeights(absl::string_view weights_digest) const {
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

absl::Status GroupEpoch::AwaitReady(Decoder* decoder, absl::string_view weights_digest) {
  decoder_ = decoder;
  absl::Status status = AwaitReadyRanks(weights_digest);
  // The caller may let the decoder go.
  if (!status.ok()) {
    MutexLock lock(&mutex_);
    decoder_ = nullptr;
  }
  return status;
}

absl::Status GroupEpoch::AwaitReadyRanks(absl::string_view weights_digest) {
  const absl::Time deadline = MonotonicClock()->Now() + options_.startup_timeout;
  MutexLock lock(&mutex_);
  while (loss_.cause.ok()) {
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
  return loss_.cause;
}

}  // namespace phalanx
