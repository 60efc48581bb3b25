// A rank of a worker group other than rank 0: joins the leader, then runs the steps that it sends.
#ifndef PHALANX_WORKER_GROUP_GROUP_MEMBER_H_
#define PHALANX_WORKER_GROUP_GROUP_MEMBER_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "base/unique_fd.h"
#include "phalanx/worker/v1/rank.pb.h"
#include "worker/comm/communicator.h"
#include "worker/comm/communicator_factory.h"
#include "worker/group/rank_channel.h"
#include "worker/group/rank_identity.h"
#include "worker/group/rank_load.h"
#include "worker/group/rank_meeting.h"
#include "worker/group/step_reader.h"
#include "worker/model/decoder.h"
#include "worker/step/step.h"

namespace phalanx {

// One thread makes all calls; only abandoned() may be called by others.
class GroupMember {
 public:
  struct Options {
    int rank = 1;
    int world = 2;
    // How the ranks meet; lent for the call, must be set, of the leader's kind.
    CommunicatorFactory* communicators = nullptr;
    RankIdentity identity;
    // Where the leader listens: a Unix socket, see unix_socket.h, or, if `tcp` is set, a port.
    std::string address;
    std::optional<RankTcp> tcp = std::nullopt;
    absl::Duration startup_timeout = absl::Minutes(2);
    absl::Duration step_timeout = absl::Minutes(1);
    // A descriptor that becomes readable when the rank is to leave the group; -1 for none.
    int interrupt_fd = -1;
  };

  // Blocks until the leader has let this rank in. UNAVAILABLE if there is no leader,
  // FAILED_PRECONDITION if it refuses this rank, PERMISSION_DENIED if it belongs to another user or
  // one of the two does not prove who it is, CANCELLED if interrupted.
  static absl::StatusOr<std::unique_ptr<GroupMember>> Join(const Options& options);
  GroupMember(const GroupMember&) = delete;
  GroupMember& operator=(const GroupMember&) = delete;
  ~GroupMember();

  // The limits of the leader's steps, which the decoder must be made for.
  const StepLimits& limits() const { return limits_; }
  // For this rank's decoder, in the present epoch.
  Communicator* communicator() { return communicator_.get(); }

  // Whether the rank was interrupted or the leader is gone, so that it has nothing left to do. Any
  // thread.
  bool abandoned() const { return abandoned_; }

  // Tells the leader that this rank can run steps, and the digest of its weights
  // (model/checkpoint/weights_digest.h).
  absl::Status SendReady(const Decoder& decoder, int64_t weight_bytes,
                         absl::string_view weights_digest, int metrics_port);

  // Called after a step with the time that it took on this rank.
  using OnStep = std::function<void(absl::Duration step_time, const StepResult& result)>;

  // Runs steps until the leader says stop or ends the epoch, because a rank is lost. In the latter
  // case NextEpoch is to follow. Errors: UNAVAILABLE when the leader is gone and CANCELLED if
  // interrupted; DATA_LOSS for plans that are not those of the leader; what the decoder failed
  // with, unless that was for want of its peers.
  absl::StatusOr<StepReader::End> Serve(Decoder& decoder, const OnStep& on_step);

  // Blocks until the leader forms the next epoch, and makes its communicator. The one before is
  // there until the next SendReady, so that a decoder may be made from the decoder that uses it. Of
  // the leader's limits nothing has changed. False if the leader says stop. UNAVAILABLE when the
  // leader is gone, CANCELLED if interrupted, the errors of CommunicatorFactory::Join.
  absl::StatusOr<bool> NextEpoch();

  // Tells the leader that this rank cannot go on.
  void SendFailed(const absl::Status& status);

  // The communicator, when the rank leaves the group: a decoder that is to be made anew in another
  // group still has it. Nothing may be called after that.
  std::unique_ptr<Communicator> Leave();

 private:
  GroupMember(const Options& options, RankChannel channel, UniqueFd stop_event)
      : options_(options), channel_(std::move(channel)), stop_event_(std::move(stop_event)) {}
  absl::Status MeetPeers(UniqueFd fd, const std::string& rendezvous);
  absl::StatusOr<StepReader::End> RunSteps(Decoder& decoder, StepReader& reader,
                                           const OnStep& on_step);
  absl::StatusOr<StepReader::End> LeaveStep(const absl::Status& failure, StepReader& reader);
  void SendFenced();
  // Ends what this rank waits for in a step.
  void BreakOffStep();
  // What watcher_ runs: sends a pulse in each interval, and waits for the leader's end, the
  // interrupt or the destructor.
  void WatchLeader(absl::Duration pulse_interval);
  void SendPulse();
  absl::Status Send(const worker::v1::RankMessage& message);

  const Options options_;
  RankChannel channel_;
  UniqueFd stop_event_;
  uint64_t epoch_ = 0;
  RankLoadCounter load_;
  StepLimits limits_;
  // Of the epoch before, until nothing uses it any more.
  std::unique_ptr<Communicator> previous_communicator_;
  // Replaced under send_mutex_ by the owner's thread, which may read it without.
  std::unique_ptr<Communicator> communicator_;
  std::atomic<bool> abandoned_ = false;
  // Held while sending: pulses come from watcher_, other messages from the owner's thread.
  Mutex send_mutex_;
  // What pulses ask for progress and what watcher_ aborts; null while no steps are served.
  Decoder* decoder_ GUARDED_BY(send_mutex_) = nullptr;
  // Aborts communicator and decoder when the rank is abandoned, since the owner's thread may wait
  // in either.
  std::thread watcher_;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_GROUP_GROUP_MEMBER_H_
