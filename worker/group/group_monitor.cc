// The monitor of an epoch of the group: a thread that hears the ranks, and learns first that one is
// lost.
#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/host_port.h"
#include "base/log.h"
#include "base/resident_memory.h"
#include "base/status.h"
#include "worker/group/group_epoch.h"
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
    case absl::StatusCode::kAborted:
      return absl::UnavailableError(message);
    default:
      return status;
  }
}

// Whether a rank that is started again would fail in the same way.
bool WouldFailAgain(const absl::Status& cause, bool loaded) {
  switch (cause.code()) {
    // It has other weights, or other plans.
    case absl::StatusCode::kDataLoss:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kUnimplemented:
      return true;
    case absl::StatusCode::kUnavailable:
      return false;
    default:
      return !loaded;
  }
}

// Of a peer's name (RankLink::peer); empty for one at a Unix socket.
std::string HostOf(const std::string& peer) {
  const absl::StatusOr<HostPort> address = ParseHostPort(peer, PortUse::kConnect);
  return address.ok() ? address->host : "";
}

}  // namespace

GroupEpoch::Loss GroupEpoch::LossOf(int rank, const absl::Status& cause) const {
  return {.cause = cause, .rank = rank, .loaded = members_[rank].loaded};
}

GroupEpoch::Loss GroupEpoch::LossOfConnection(int rank, const absl::Status& channel_status) {
  const Member& member = members_[rank];
  if (member.process != nullptr && member.process->Wait(kReapTimeout)) {
    return LossOf(
        rank, absl::UnavailableError(absl::StrCat("rank ", rank, " ", member.process->Describe(),
                                                  member.ready ? "" : " while the group formed")));
  }
  return LossOf(rank,
                absl::UnavailableError(absl::StrCat("rank ", rank, " (", member.channel->peer(),
                                                    ") is lost: ", channel_status.message())));
}

void GroupEpoch::Monitor(std::unique_ptr<RankReception> reception) {
  bool interruptible = true;
  while (MonitorOnce(reception, interruptible)) {
  }
}

bool GroupEpoch::MonitorOnce(std::unique_ptr<RankReception>& reception, bool& interruptible) {
  // fds[0] is the order to stop and comes first, because PollReadable gives the first that is
  // readable. fds[1] is the interrupt, fds[1 + rank] is rank `rank`, and the reception's are behind
  // them.
  std::vector<int> fds = {stop_event_.get(), interruptible ? options_.interrupt_fd : -1};
  for (int rank = 1; rank < options_.world; ++rank) fds.push_back(WatchedFd(members_[rank]));
  if (reception != nullptr) reception->AppendFds(&fds);
  absl::Time deadline = next_pulse_check_;
  if (reception != nullptr) deadline = std::min(deadline, reception->next_deadline());
  const absl::StatusOr<size_t> ready = PollReadable(fds, deadline);
  Loss loss;
  if (!ready.ok() && !absl::IsDeadlineExceeded(ready.status())) {
    loss = {.cause = ready.status(), .final = true};
  } else if (ready.ok() && *ready == 0) {
    return false;
  } else if (ready.ok() && *ready == 1) {
    if (InterruptStart()) return false;
    // The group has started, so the interrupt is the main program's business. It stays readable,
    // and to poll it any longer would keep this thread busy.
    interruptible = false;
  } else if (ready.ok() && static_cast<int>(*ready) <= options_.world) {
    loss = HearRank(static_cast<int>(*ready) - 1);
    // Also when nothing came by the deadline: then a connection may have used up its time.
  } else if (reception != nullptr) {
    for (RankReception::Arrival& arrival : reception->Receive()) {
      if (!loss.cause.ok()) break;
      loss = {.cause = Admit(std::move(arrival)), .final = true};
    }
    // Closes the socket: nobody else has to join.
    if (AllJoined()) reception.reset();
  }
  // Checked in every turn, not only in those without news: ranks that send a lot cannot put it off.
  if (loss.cause.ok() && MonotonicClock()->Now() >= next_pulse_check_) loss = CheckPulses();
  if (loss.cause.ok()) return true;
  Lose(loss);
  return false;
}

GroupEpoch::Loss GroupEpoch::CheckPulses() {
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
  if (options_.board != nullptr) {
    options_.board->Worked(0, load_.load(), ResidentMemoryBytes(), MonotonicClock()->Now());
  }
  const absl::Status status = pulse_watch_.Turn(step);
  options_.on_pulse(pulse_watch_.silence());
  if (status.ok()) return CheckFences();
  const int rank = *pulse_watch_.rank_to_blame();
  // This process itself hangs.
  if (rank == 0) return {.cause = status, .final = true};
  // The engine thread may be blocked in sending to this rank, which does not read. This ends the
  // Send.
  members_[rank].channel->Break();
  return LossOf(rank, status);
}

GroupEpoch::Loss GroupEpoch::CheckFences() {
  const absl::Time now = MonotonicClock()->Now();
  for (int rank = 1; rank < options_.world; ++rank) {
    if (members_[rank].fenced || now < members_[rank].fence_deadline) continue;
    return LossOf(rank, absl::UnavailableError(absl::StrCat(
                            "rank ", rank, " has not left the step of the epoch before within ",
                            absl::FormatDuration(options_.stall_timeout))));
  }
  return {};
}

int GroupEpoch::WatchedFd(const Member& member) {
  // A rank that has joined and ends closes its connection, so its process need not be watched.
  if (member.channel != nullptr) return member.channel->fd();
  return member.process == nullptr ? -1 : member.process->pidfd();
}

GroupEpoch::Loss GroupEpoch::HearRank(int rank) {
  const Member& member = members_[rank];
  if (member.channel == nullptr) return LossOfConnection(rank, absl::OkStatus());
  Loss loss = HearMessage(rank);
  // What TLS has taken from the socket does not make it readable again.
  while (loss.cause.ok() && member.channel->has_buffered()) loss = HearMessage(rank);
  return loss;
}

GroupEpoch::Loss GroupEpoch::HearMessage(int rank) {
  Member& member = members_[rank];
  worker::v1::RankMessage message;
  if (absl::Status status = member.channel->Receive(&message, {.timeout = kMessageTimeout});
      !status.ok()) {
    return LossOfConnection(rank, status);
  }
  pulse_watch_.Heard(rank);
  ReportPulse(rank, message);
  if (message.has_failed()) {
    Loss loss = LossOf(rank, CauseOf(rank, message.failed()));
    loss.final = WouldFailAgain(loss.cause, member.loaded);
    return loss;
  }
  if (message.has_fenced()) {
    member.fenced |= message.fenced().epoch() + 1 == options_.epoch;
    return {};
  }
  // What it said in the epoch before.
  if (!member.fenced) {
    if (message.has_ready()) {
      member.loaded = true;
      member.fence_deadline = MonotonicClock()->Now() + options_.stall_timeout;
    }
    return {};
  }
  return TakeIn(rank, message);
}

void GroupEpoch::ReportPulse(int rank, const worker::v1::RankMessage& message) {
  if (options_.board == nullptr) return;
  const absl::Time now = MonotonicClock()->Now();
  options_.board->Heard(rank, now);
  if (!message.has_pulse() || !message.pulse().has_load()) return;
  const worker::v1::RankLoad& load = message.pulse().load();
  options_.board->Worked(rank,
                         {.steps = load.steps(),
                          .step_time = absl::Nanoseconds(load.step_nanos()),
                          .timed_steps = load.timed_steps(),
                          .comm_time = absl::Nanoseconds(load.comm_nanos())},
                         load.resident_bytes(), now);
}

GroupEpoch::Loss GroupEpoch::TakeIn(int rank, const worker::v1::RankMessage& message) {
  if (message.has_pulse()) {
    pulse_watch_.Progressed(rank, message.pulse().progress());
    return {};
  }
  if (message.has_ready()) return TakeReady(rank, message.ready());
  if (message.has_step_failed()) {
    // The rank is well itself, and its peers will tell which one is not.
    return {.cause = absl::UnavailableError(
                absl::StrCat("rank ", rank, ": ", message.step_failed().message()))};
  }
  return LossOf(rank, absl::InternalError(
                          absl::StrCat("rank ", rank, " sent what was not its turn to send")));
}

GroupEpoch::Loss GroupEpoch::TakeReady(int rank, const worker::v1::Ready& ready) {
  Member& member = members_[rank];
  MutexLock lock(&mutex_);
  if (member.ready) {
    return LossOf(rank, absl::InternalError(absl::StrCat("rank ", rank, " was ready twice")));
  }
  member.ready = true;
  member.loaded = true;
  member.info = {.weight_bytes = ready.weight_bytes(),
                 .kv_arena_bytes = ready.kv_arena_bytes(),
                 .metrics_port = ready.metrics_port(),
                 .weights_digest = ready.weights_digest(),
                 .host = HostOf(member.channel->peer())};
  LOG(INFO) << "rank " << rank << " is ready: " << member.channel->peer() << ", weights "
            << ready.weight_bytes() / kMiB << " MiB, KV cache " << ready.kv_arena_bytes() / kMiB
            << " MiB, metrics on port " << ready.metrics_port();
  if (options_.board != nullptr) {
    options_.board->Ready(rank, {.host = ready.host(),
                                 .weight_bytes = ready.weight_bytes(),
                                 .kv_arena_bytes = ready.kv_arena_bytes()});
  }
  changed_.SignalAll();
  return {};
}

bool GroupEpoch::InterruptStart() {
  MutexLock lock(&mutex_);
  if (std::all_of(members_.begin() + 1, members_.end(),
                  [](const Member& member) { return member.ready; })) {
    return false;
  }
  // The caller gives up, as it wanted to, and will stop the group. stopping_ keeps Lose from
  // calling on_lost for it.
  stopping_ = true;
  loss_ = {.cause = absl::CancelledError("interrupted while the group started"), .final = true};
  changed_.SignalAll();
  return true;
}

}  // namespace phalanx
