#include "worker/group/group_leader.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/log.h"
#include "base/status.h"
#include "worker/comm/shm_communicator.h"
#include "worker/group/unix_socket.h"

namespace phalanx {
namespace {

// A rank that has ended is reaped within this; one that only closed its socket may go on.
constexpr absl::Duration kReapTimeout = absl::Seconds(1);
// Ranks' messages are short: one that has begun to arrive is there.
constexpr absl::Duration kMessageTimeout = absl::Seconds(1);

}  // namespace

absl::StatusOr<std::unique_ptr<GroupLeader>> GroupLeader::Start(Options options) {
  std::unique_ptr<GroupLeader> leader(new GroupLeader(std::move(options)));
  RETURN_IF_ERROR(leader->Form());
  return leader;
}

GroupLeader::GroupLeader(Options options)
    : options_(std::move(options)),
      sequence_(options_.epoch),
      members_(options_.world),
      stop_event_(eventfd(0, EFD_CLOEXEC)) {}

GroupLeader::~GroupLeader() { Stop(absl::ZeroDuration()); }

absl::Status GroupLeader::Form() {
  ASSIGN_OR_RETURN(std::shared_ptr<CommunicatorSegment> segment,
                   CommunicatorSegment::Create(options_.world));
  communicator_ = std::make_unique<ShmCommunicator>(
      segment, 0, ShmCommunicator::Options{.timeout = options_.step_timeout});
  if (options_.world == 1) return absl::OkStatus();

  ASSIGN_OR_RETURN(const UniqueFd listener, ListenUnix(options_.socket_path));
  absl::Status status = StartRanks();
  const absl::Time deadline = absl::Now() + options_.startup_timeout;
  for (int joined = 1; status.ok() && joined < options_.world; ++joined) {
    status = AcceptRank(listener.get(), segment->fd(), deadline);
  }
  unlink(options_.socket_path.c_str());
  RETURN_IF_ERROR(status);
  monitor_ = std::thread([this] { Monitor(); });
  return absl::OkStatus();
}

absl::Status GroupLeader::StartRanks() {
  if (!options_.rank_command) return absl::OkStatus();
  for (int rank = 1; rank < options_.world; ++rank) {
    ASSIGN_OR_RETURN(members_[rank].process, RankProcess::Start(options_.rank_command(rank)));
  }
  return absl::OkStatus();
}

absl::Status GroupLeader::AcceptRank(int listener, int segment_fd, absl::Time deadline) {
  RETURN_IF_ERROR(WaitForConnection(listener, deadline));
  auto channel =
      std::make_unique<RankChannel>(UniqueFd(accept4(listener, nullptr, nullptr, SOCK_CLOEXEC)));
  worker::v1::RankMessage message;
  RETURN_IF_ERROR(channel->Receive(&message, {.timeout = deadline - absl::Now()}));
  ASSIGN_OR_RETURN(const int rank, CheckJoin(message.join()));
  worker::v1::LeaderMessage answer;
  worker::v1::Welcome* const welcome = answer.mutable_welcome();
  welcome->set_epoch(options_.epoch);
  welcome->set_max_step_tokens(options_.limits.max_step_tokens);
  welcome->set_max_seqs(options_.limits.max_seqs);
  welcome->set_max_blocks_per_seq(options_.limits.max_blocks_per_seq);
  welcome->set_kv_blocks(options_.limits.kv_blocks);
  RETURN_IF_ERROR(channel->Send(answer, segment_fd));
  members_[rank].channel = std::move(channel);
  return absl::OkStatus();
}

absl::Status GroupLeader::WaitForConnection(int listener, absl::Time deadline) {
  std::vector<pollfd> fds = {{listener, POLLIN, 0}};
  std::vector<int> ranks = {0};
  for (int rank = 1; rank < options_.world; ++rank) {
    if (members_[rank].process == nullptr) continue;
    fds.push_back({members_[rank].process->pidfd(), POLLIN, 0});
    ranks.push_back(rank);
  }
  while (true) {
    const int64_t left_ms = absl::ToInt64Milliseconds(deadline - absl::Now()) + 1;
    const int ready =
        poll(fds.data(), fds.size(), static_cast<int>(std::clamp<int64_t>(left_ms, 0, INT_MAX)));
    for (size_t i = 1; ready > 0 && i < fds.size(); ++i) {
      if (fds[i].revents == 0) continue;
      RankProcess& process = *members_[ranks[i]].process;
      process.Wait(kReapTimeout);
      return absl::UnavailableError(
          absl::StrCat("rank ", ranks[i], " ", process.Describe(), " while the group formed"));
    }
    if (ready > 0) return absl::OkStatus();
    if (ready < 0 && errno != EINTR) return absl::InternalError("poll failed");
    if (absl::Now() < deadline) continue;
    const auto missing = std::find_if(members_.begin() + 1, members_.end(),
                                      [](const Member& member) { return !member.channel; });
    return absl::UnavailableError(absl::StrCat("rank ", missing - members_.begin(),
                                               " did not join within ",
                                               absl::FormatDuration(options_.startup_timeout)));
  }
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
  if (join.model_fingerprint() != options_.fingerprint) {
    return absl::FailedPreconditionError(
        absl::StrCat("rank ", rank, " has another model: fingerprint ", join.model_fingerprint(),
                     " instead of ", options_.fingerprint));
  }
  return rank;
}

absl::Status GroupLeader::AwaitReady(Decoder* decoder) {
  decoder_ = decoder;
  const absl::Time deadline = absl::Now() + options_.startup_timeout;
  MutexLock lock(&mutex_);
  while (lost_.ok()) {
    const auto late = std::find_if(members_.begin() + 1, members_.end(),
                                   [](const Member& member) { return !member.ready; });
    if (late == members_.end()) return absl::OkStatus();
    const absl::Duration left = deadline - absl::Now();
    if (left <= absl::ZeroDuration()) {
      return absl::UnavailableError(absl::StrCat("rank ", late - members_.begin(),
                                                 " was not ready within ",
                                                 absl::FormatDuration(options_.startup_timeout)));
    }
    ready_changed_.WaitFor(&mutex_, left);
  }
  return lost_;
}

std::vector<GroupLeader::RankInfo> GroupLeader::ranks() const {
  MutexLock lock(&mutex_);
  std::vector<RankInfo> infos;
  for (const Member& member : members_) infos.push_back(member.info);
  return infos;
}

absl::StatusOr<StepResult> GroupLeader::Execute(const StepInput& input) {
  RETURN_IF_ERROR(lost());
  if (options_.world > 1) sequence_.Encode(input, plan_message_.mutable_plan());
  for (int rank = 1; rank < options_.world; ++rank) {
    if (absl::Status status = members_[rank].channel->Send(plan_message_); !status.ok()) {
      return LoseBySymptom(absl::StrCat("rank ", rank, " is lost: ", status.message()));
    }
  }
  absl::StatusOr<StepResult> result = decoder_->Step(input);
  if (result.ok()) return result;
  // A collective that failed is the echo of a rank that died, or of one that hangs.
  if (absl::IsAborted(result.status()) || absl::IsDeadlineExceeded(result.status())) {
    return LoseBySymptom(result.status().message());
  }
  Lose(result.status());
  return lost();
}

absl::Status GroupLeader::LoseBySymptom(absl::string_view symptom) {
  {
    const absl::Time deadline = absl::Now() + kReapTimeout;
    MutexLock lock(&mutex_);
    while (lost_.ok() && absl::Now() < deadline) {
      ready_changed_.WaitFor(&mutex_, deadline - absl::Now());
    }
  }
  Lose(absl::UnavailableError(symptom));
  return lost();
}

void GroupLeader::Stop(absl::Duration timeout) {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
  }
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(stop_event_.get(), &one, sizeof(one));
  if (monitor_.joinable()) monitor_.join();
  worker::v1::LeaderMessage stop;
  stop.mutable_stop();
  for (Member& member : members_) {
    if (member.channel == nullptr) continue;
    // A rank that is gone already needs no telling.
    member.channel->Send(stop).IgnoreError();
  }
  const absl::Time deadline = absl::Now() + timeout;
  for (int rank = 1; rank < options_.world; ++rank) {
    Member& member = members_[rank];
    if (member.process != nullptr && !member.process->Wait(deadline - absl::Now())) {
      LOG(WARNING) << "rank " << rank << " does not stop: killing it";
    }
    member.channel.reset();
    member.process.reset();
  }
}

absl::Status GroupLeader::DescribeLoss(int rank, const absl::Status& channel_status) {
  RankProcess* const process = members_[rank].process.get();
  if (process != nullptr && process->Wait(kReapTimeout)) {
    return absl::UnavailableError(absl::StrCat("rank ", rank, " ", process->Describe()));
  }
  return absl::UnavailableError(
      absl::StrCat("rank ", rank, " is lost: ", channel_status.message()));
}

void GroupLeader::Monitor() {
  std::vector<pollfd> fds = {{stop_event_.get(), POLLIN, 0}};
  for (int rank = 1; rank < options_.world; ++rank) {
    fds.push_back({members_[rank].channel->fd(), POLLIN, 0});
  }
  while (true) {
    if (poll(fds.data(), fds.size(), -1) < 0) continue;
    if (fds[0].revents != 0) return;
    for (int rank = 1; rank < options_.world; ++rank) {
      if (fds[rank].revents != 0 && !ReceiveFrom(rank)) return;
    }
  }
}

bool GroupLeader::ReceiveFrom(int rank) {
  worker::v1::RankMessage message;
  if (absl::Status status = members_[rank].channel->Receive(&message, {.timeout = kMessageTimeout});
      !status.ok()) {
    Lose(DescribeLoss(rank, status));
    return false;
  }
  if (message.has_failed()) {
    Lose(absl::Status(static_cast<absl::StatusCode>(message.failed().code()),
                      absl::StrCat("rank ", rank, " failed: ", message.failed().message())));
    return false;
  }
  MutexLock lock(&mutex_);
  Member& member = members_[rank];
  member.ready = member.ready || message.has_ready();
  member.info = {.weight_bytes = message.ready().weight_bytes(),
                 .kv_arena_bytes = message.ready().kv_arena_bytes(),
                 .metrics_port = message.ready().metrics_port()};
  ready_changed_.SignalAll();
  return true;
}

void GroupLeader::Lose(const absl::Status& cause) {
  {
    MutexLock lock(&mutex_);
    if (stopping_ || !lost_.ok()) return;
    lost_ = cause;
    ready_changed_.SignalAll();
  }
  communicator_->Abort();
  options_.on_lost(cause);
}

absl::Status GroupLeader::lost() const {
  MutexLock lock(&mutex_);
  return lost_;
}

}  // namespace phalanx
