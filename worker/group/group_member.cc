#include "worker/group/group_member.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <iterator>
#include <optional>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/cpu_set.h"
#include "base/host_name.h"
#include "base/resident_memory.h"
#include "base/status.h"
#include "phalanx/worker/v1/rank.pb.h"
#include "worker/group/step_reader.h"

namespace phalanx {
namespace {

// How long a rank waits for the next part of a step, to launch it while a step runs. The leader
// sends it at about the time at which the one that runs begins, if it can plan ahead, and steps
// take longer than this where launching ahead pays.
constexpr absl::Duration kLookAhead = absl::Microseconds(300);

void WriteLoad(const RankLoad& load, worker::v1::RankLoad* message) {
  message->set_steps(load.steps);
  message->set_step_nanos(absl::ToInt64Nanoseconds(load.step_time));
  message->set_timed_steps(load.timed_steps);
  message->set_comm_nanos(absl::ToInt64Nanoseconds(load.comm_time));
  message->set_resident_bytes(ResidentMemoryBytes());
}

}  // namespace

absl::StatusOr<std::unique_ptr<GroupMember>> GroupMember::Join(const Options& options) {
  worker::v1::Join join;
  join.set_rank(options.rank);
  join.set_world(options.world);
  WriteIdentity(options.identity, &join);
  ASSIGN_OR_RETURN(JoinedRank joined, JoinLeader({options.address, options.tcp}, join,
                                                 options.startup_timeout, options.interrupt_fd));
  std::unique_ptr<GroupMember> member(
      new GroupMember(options, std::move(*joined.channel), UniqueFd(eventfd(0, EFD_CLOEXEC))));
  const worker::v1::Welcome& welcome = joined.welcome;
  member->epoch_ = welcome.epoch();
  member->limits_ = {.max_step_tokens = welcome.max_step_tokens(),
                     .max_seqs = welcome.max_seqs(),
                     .max_blocks_per_seq = welcome.max_blocks_per_seq(),
                     .kv_blocks = welcome.kv_blocks()};
  RETURN_IF_ERROR(member->MeetPeers(std::move(joined.communicator_fd), welcome.rendezvous()));
  // A leader that names no interval wants no pulse.
  const absl::Duration pulse_interval =
      welcome.pulse_ms() > 0 ? absl::Milliseconds(welcome.pulse_ms()) : absl::InfiniteDuration();
  member->watcher_ =
      std::thread([raw = member.get(), pulse_interval] { raw->WatchLeader(pulse_interval); });
  return member;
}

absl::Status GroupMember::MeetPeers(UniqueFd fd, const std::string& rendezvous) {
  ASSIGN_OR_RETURN(
      std::unique_ptr<Communicator> communicator,
      options_.communicators->Join({.fd = fd.Release(), .rendezvous = rendezvous}, options_.rank,
                                   options_.world, options_.step_timeout));
  MutexLock lock(&send_mutex_);
  previous_communicator_ = std::exchange(communicator_, std::move(communicator));
  return absl::OkStatus();
}

GroupMember::~GroupMember() { Leave(); }

std::unique_ptr<Communicator> GroupMember::Leave() {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(stop_event_.get(), &one, sizeof(one));
  if (watcher_.joinable()) watcher_.join();
  return previous_communicator_ != nullptr ? std::move(previous_communicator_)
                                           : std::move(communicator_);
}

void GroupMember::WatchLeader(absl::Duration pulse_interval) {
  // Of the channel only its end is watched: messages are for the thread that calls Serve.
  pollfd fds[] = {{stop_event_.get(), POLLIN, 0},
                  {channel_.fd(), POLLRDHUP, 0},
                  {options_.interrupt_fd, POLLIN, 0}};
  const int wait_ms = pulse_interval == absl::InfiniteDuration()
                          ? -1
                          : static_cast<int>(absl::ToInt64Milliseconds(pulse_interval));
  while (true) {
    const int ready = poll(fds, std::size(fds), wait_ms);
    if (ready > 0) break;
    if (ready == 0) SendPulse();
  }
  // Only stop_event_ was readable: this object is being destroyed.
  if (fds[1].revents == 0 && fds[2].revents == 0) return;
  // Set before the abort, so that whoever sees a step fail by it can ask for the reason.
  abandoned_ = true;
  BreakOffStep();
}

void GroupMember::BreakOffStep() {
  MutexLock lock(&send_mutex_);
  communicator_->Abort();
  if (decoder_ != nullptr) decoder_->Abort();
}

void GroupMember::SendPulse() {
  worker::v1::RankMessage message;
  WriteLoad(load_.load(), message.mutable_pulse()->mutable_load());
  // Held while the decoder is asked, too: Serve waits for it before the decoder may go.
  MutexLock lock(&send_mutex_);
  message.mutable_pulse()->set_progress(decoder_ == nullptr ? 0 : decoder_->progress());
  // Skipped if the leader has not read for so long that the socket is full: this thread must not
  // block, it has an interrupt to watch for.
  pollfd channel{channel_.fd(), POLLOUT, 0};
  if (poll(&channel, 1, 0) == 1 && (channel.revents & POLLOUT) != 0) {
    channel_.Send(message).IgnoreError();
  }
}

absl::Status GroupMember::Send(const worker::v1::RankMessage& message) {
  MutexLock lock(&send_mutex_);
  return channel_.Send(message);
}

absl::Status GroupMember::SendReady(const Decoder& decoder, int64_t weight_bytes,
                                    absl::string_view weights_digest, int metrics_port) {
  worker::v1::RankMessage message;
  worker::v1::Ready* const ready = message.mutable_ready();
  previous_communicator_.reset();
  ready->set_weight_bytes(weight_bytes);
  ready->set_kv_arena_bytes(static_cast<int64_t>(decoder.kv_arena_bytes()));
  ready->set_metrics_port(metrics_port);
  ready->set_weights_digest(std::string(weights_digest));
  ready->set_host(HostName());
  return Send(message);
}

absl::StatusOr<StepReader::End> GroupMember::Serve(Decoder& decoder, const OnStep& on_step) {
  const auto watch = [this](Decoder* watched) {
    MutexLock lock(&send_mutex_);
    decoder_ = watched;
  };
  watch(&decoder);
  // The watcher ends when it has found the rank abandoned, and may have done so before.
  if (abandoned_) decoder.Abort();
  absl::StatusOr<StepReader::End> end;
  {
    StepReader reader(&channel_, epoch_, options_.interrupt_fd, [this] { BreakOffStep(); });
    end = RunSteps(decoder, reader, on_step);
    if (!end.ok()) end = LeaveStep(end.status(), reader);
  }
  watch(nullptr);
  if (end.ok() && *end == StepReader::End::kEpochEnds) SendFenced();
  return end;
}

absl::StatusOr<StepReader::End> GroupMember::RunSteps(Decoder& decoder, StepReader& reader,
                                                      const OnStep& on_step) {
  // The reader has started its thread, which may run anywhere.
  const ScopedCpuPin pin(decoder.calling_cpus());
  const int most = decoder.launches_ahead() ? Decoder::kMaxInFlight : 1;
  int launched = 0;
  bool half = false;  // Whether the forward part of the step after these has been launched.
  absl::Time start;   // Of the oldest step in flight, or of its turn.
  while (true) {
    // The sampling of a step may need the result of the one before, which the leader has soon.
    if (launched == 0 || ((half || launched < most) && reader.HasPart(kLookAhead))) {
      ASSIGN_OR_RETURN(const auto next, reader.Next());
      if (const StepReader::End* const end = std::get_if<StepReader::End>(&next)) return *end;
      if (const StepBlock* const forward = std::get_if<StepBlock>(&next)) {
        if (launched == 0) start = MonotonicClock()->Now();
        RETURN_IF_ERROR(decoder.LaunchForward(*forward));
        half = true;
      } else {
        RETURN_IF_ERROR(decoder.LaunchSampling(std::get<SamplingBlock>(next)));
        half = false;
        ++launched;
      }
      continue;
    }
    ASSIGN_OR_RETURN(const StepResult result, decoder.Await());
    --launched;
    const absl::Time end = MonotonicClock()->Now();
    load_.Observe(end - start, result.comm_time);
    on_step(end - start, result);
    start = end;
  }
}

// What to do when steps have failed: if that was for want of peers, the leader will end the epoch.
absl::StatusOr<StepReader::End> GroupMember::LeaveStep(const absl::Status& failure,
                                                       StepReader& reader) {
  if (abandoned_) {
    // The leader may have said stop before it went.
    absl::StatusOr<StepReader::End> end = reader.SkipToEnd();
    return end.ok() ? end : failure;
  }
  switch (failure.code()) {
    // Another rank has aborted the communicator, or the leader has ended the epoch: it knows.
    case absl::StatusCode::kAborted:
      break;
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kUnavailable: {
      worker::v1::RankMessage message;
      message.mutable_step_failed()->set_message(std::string(failure.message()));
      RETURN_IF_ERROR(Send(message));
      break;
    }
    default:
      return failure;
  }
  return reader.SkipToEnd();
}

void GroupMember::SendFenced() {
  worker::v1::RankMessage message;
  message.mutable_fenced()->set_epoch(epoch_);
  // If the leader is gone, waiting for the next epoch will show it.
  Send(message).IgnoreError();
}

absl::StatusOr<bool> GroupMember::NextEpoch() {
  while (true) {
    worker::v1::LeaderMessage message;
    UniqueFd fd;
    RETURN_IF_ERROR(channel_.Receive(&message, {.interrupt_fd = options_.interrupt_fd, .fd = &fd}));
    if (message.has_stop()) return false;
    // One that ended before this rank was told of its beginning.
    if (message.has_epoch_ends()) {
      epoch_ = message.epoch_ends().epoch();
      SendFenced();
      continue;
    }
    // A plan of an epoch that has ended.
    if (!message.has_new_epoch()) continue;
    epoch_ = message.new_epoch().epoch();
    RETURN_IF_ERROR(MeetPeers(std::move(fd), message.new_epoch().rendezvous()));
    return true;
  }
}

void GroupMember::SendFailed(const absl::Status& status) {
  worker::v1::RankMessage message;
  message.mutable_failed()->set_code(static_cast<int>(status.code()));
  message.mutable_failed()->set_message(std::string(status.message()));
  // If the leader is gone, nobody has to be told.
  Send(message).IgnoreError();
}

}  // namespace phalanx
