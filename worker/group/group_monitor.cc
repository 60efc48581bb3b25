// The group's monitor: a thread that hears the ranks, and learns first that one is lost. What the
// engine's thread asks of the group is in group_leader.cc.
#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/status.h"
#include "worker/group/group_leader.h"
#include "worker/group/poll_readable.h"

namespace phalanx {
namespace {

// How long to wait for a rank's process to end once its connection has broken, so that the error
// can say how it ended. One that only closed its socket may go on for longer.
constexpr absl::Duration kReapTimeout = absl::Seconds(1);
// How long the monitor waits for the rest of a message that has begun to arrive. Ranks' messages
// are short and come in one piece, so a rank that needs longer is broken.
constexpr absl::Duration kMessageTimeout = absl::Seconds(1);

constexpr int64_t kMiB = int64_t{1} << 20;

// What the failure of a rank means for the group. The codes go on to callers.
absl::Status CauseOf(int rank, const worker::v1::Failed& failed) {
  const std::string message = absl::StrCat("rank ", rank, " failed: ", failed.message());
  // The code comes from another process and may be any number. For one that means nothing, code()
  // gives kUnknown.
  absl::Status status(static_cast<absl::StatusCode>(failed.code()), message);
  switch (status.code()) {
    case absl::StatusCode::kOk:
    case absl::StatusCode::kUnknown:
      return absl::InternalError(message);
    // A caller would take these for its own deadline or its own cancellation, but they are the
    // rank's.
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kCancelled:
      return absl::UnavailableError(message);
    default:
      return status;
  }
}

}  // namespace

absl::Status GroupLeader::LoseBySymptom(absl::string_view symptom) {
  {
    const absl::Time deadline = MonotonicClock()->Now() + kReapTimeout;
    MutexLock lock(&mutex_);
    while (lost_.ok() && MonotonicClock()->Now() < deadline) {
      changed_.WaitFor(&mutex_, deadline - MonotonicClock()->Now());
    }
  }
  // Has no effect if the monitor has found the cause: the first one stays.
  Lose(absl::UnavailableError(symptom));
  return lost();
}

absl::Status GroupLeader::DescribeLoss(int rank, const absl::Status& channel_status) {
  RankProcess* const process = members_[rank].process.get();
  if (process != nullptr && process->Wait(kReapTimeout)) {
    return absl::UnavailableError(absl::StrCat("rank ", rank, " ", process->Describe()));
  }
  return absl::UnavailableError(absl::StrCat("rank ", rank, " (process ", members_[rank].pid,
                                             ") is lost: ", channel_status.message()));
}

void GroupLeader::Monitor(std::unique_ptr<RankReception> reception) {
  bool interruptible = true;
  while (MonitorOnce(reception, interruptible)) {
  }
}

bool GroupLeader::MonitorOnce(std::unique_ptr<RankReception>& reception, bool& interruptible) {
  // fds[0] is the order to stop and comes first, because PollReadable gives the first that is
  // readable. fds[1] is the interrupt, fds[1 + rank] is rank `rank`, and the reception's are behind
  // them.
  std::vector<int> fds = {stop_event_.get(), interruptible ? options_.interrupt_fd : -1};
  for (int rank = 1; rank < options_.world; ++rank) fds.push_back(WatchedFd(members_[rank]));
  if (reception != nullptr) reception->AppendFds(&fds);
  absl::Time deadline = next_pulse_check_;
  if (reception != nullptr) deadline = std::min(deadline, reception->next_deadline());
  const absl::StatusOr<size_t> ready = PollReadable(fds, deadline);
  absl::Status status;
  if (!ready.ok() && !absl::IsDeadlineExceeded(ready.status())) {
    status = ready.status();
  } else if (ready.ok() && *ready == 0) {
    return false;
  } else if (ready.ok() && *ready == 1) {
    if (InterruptStart()) return false;
    // The group has started, so the interrupt is the main program's business. It stays readable,
    // and to poll it any longer would keep this thread busy.
    interruptible = false;
  } else if (ready.ok() && static_cast<int>(*ready) <= options_.world) {
    status = HearRank(static_cast<int>(*ready) - 1);
    // Also when nothing came by the deadline: then a connection may have used up its time.
  } else if (reception != nullptr) {
    for (RankReception::Arrival& arrival : reception->Receive()) {
      if (status.ok()) status = Admit(std::move(arrival));
    }
    // Closes the socket: nobody else has to join.
    if (AllJoined()) reception.reset();
  }
  // Checked in every turn, not only in those without news: ranks that send a lot cannot put it off.
  if (status.ok() && MonotonicClock()->Now() >= next_pulse_check_) status = CheckPulses();
  if (!status.ok()) Lose(status);
  return status.ok();
}

absl::Status GroupLeader::CheckPulses() {
  // The interval counts from now, not from when this check was due. Otherwise a leader that was
  // stopped for a while would make up for all the checks that it missed, at once, and ranks would
  // look silent.
  next_pulse_check_ = MonotonicClock()->Now() + pulse_watch_.interval();
  std::optional<RunningStep> step;
  {
    MutexLock lock(&mutex_);
    if (!running_steps_.empty()) step = running_steps_.front();
  }
  if (step.has_value()) pulse_watch_.Progressed(0, decoder_.load()->progress());
  absl::Status status = pulse_watch_.Turn(step);
  options_.on_pulse(pulse_watch_.silence());
  // The engine thread may be blocked in sending to this rank, which does not read. This ends the
  // Send.
  if (pulse_watch_.silent_rank().has_value())
    members_[*pulse_watch_.silent_rank()].channel->Break();
  return status;
}

int GroupLeader::WatchedFd(const Member& member) const {
  if (member.silent) return -1;
  // A rank that has joined and ends closes its connection, so its process need not be watched.
  if (member.channel != nullptr) return member.channel->fd();
  return member.process == nullptr ? -1 : member.process->pidfd();
}

absl::Status GroupLeader::HearRank(int rank) {
  Member& member = members_[rank];
  if (member.channel == nullptr) {
    member.process->Wait(kReapTimeout);
    return absl::UnavailableError(
        absl::StrCat("rank ", rank, " ", member.process->Describe(), " while the group formed"));
  }
  absl::Status cause = ReceiveFrom(rank);
  if (!absl::IsAborted(cause)) return cause;
  // Its process may end now, which would look like the cause and hide the true one.
  member.silent = true;
  return absl::OkStatus();
}

absl::Status GroupLeader::ReceiveFrom(int rank) {
  Member& member = members_[rank];
  worker::v1::RankMessage message;
  if (absl::Status status = member.channel->Receive(&message, {.timeout = kMessageTimeout});
      !status.ok()) {
    return DescribeLoss(rank, status);
  }
  pulse_watch_.Heard(rank);
  if (message.has_pulse()) {
    pulse_watch_.Progressed(rank, message.pulse().progress());
    return absl::OkStatus();
  }
  if (message.has_failed()) return CauseOf(rank, message.failed());
  if (!message.has_ready()) {
    return absl::InternalError(absl::StrCat("rank ", rank, " sent what was not its turn to send"));
  }
  const worker::v1::Ready& ready = message.ready();
  MutexLock lock(&mutex_);
  if (member.ready) return absl::InternalError(absl::StrCat("rank ", rank, " was ready twice"));
  member.ready = true;
  member.info = {.weight_bytes = ready.weight_bytes(),
                 .kv_arena_bytes = ready.kv_arena_bytes(),
                 .metrics_port = ready.metrics_port(),
                 .weights_digest = ready.weights_digest()};
  LOG(INFO) << "rank " << rank << " is ready: process " << member.pid << ", weights "
            << ready.weight_bytes() / kMiB << " MiB, KV cache " << ready.kv_arena_bytes() / kMiB
            << " MiB, metrics on port " << ready.metrics_port();
  changed_.SignalAll();
  return absl::OkStatus();
}

bool GroupLeader::InterruptStart() {
  MutexLock lock(&mutex_);
  if (std::all_of(members_.begin() + 1, members_.end(),
                  [](const Member& member) { return member.ready; })) {
    return false;
  }
  // The caller gives up, as it wanted to, and will stop the group. stopping_ keeps Lose from
  // calling on_lost for it.
  stopping_ = true;
  lost_ = absl::CancelledError("interrupted while the group started");
  changed_.SignalAll();
  return true;
}

void GroupLeader::Lose(const absl::Status& cause) {
  {
    MutexLock lock(&mutex_);
    // Only the first cause counts: a loss makes other ranks fail too.
    if (stopping_ || !lost_.ok()) return;
    lost_ = cause;
    changed_.SignalAll();
  }
  LOG(ERROR) << "the group is lost: " << cause.message();
  // Ranks that wait in a collective for the lost one give up.
  BreakOffStep();
  options_.on_lost(cause);
}

absl::Status GroupLeader::lost() const {
  MutexLock lock(&mutex_);
  return lost_;
}

}  // namespace phalanx
