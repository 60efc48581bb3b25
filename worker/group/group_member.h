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
#include "phalanx/worker/v1/rank.pb.h"
#include "worker/comm/communicator.h"
#include "worker/comm/communicator_factory.h"
#include "worker/group/rank_channel.h"
#include "worker/group/rank_identity.h"
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
    // Where the leader listens, see unix_socket.h.
    std::string address;
    absl::Duration startup_timeout = absl::Minutes(2);
    absl::Duration step_timeout = absl::Minutes(1);
    // A descriptor that becomes readable when the rank is to leave the group; -1 for none.
    int interrupt_fd = -1;
  };

  // Blocks until the leader has let this rank in. UNAVAILABLE if there is no leader,
  // FAILED_PRECONDITION if it refuses this rank, PERMISSION_DENIED if it belongs to another user,
  // CANCELLED if interrupted.
  static absl::StatusOr<std::unique_ptr<GroupMember>> Join(const Options& options);
  GroupMember(const GroupMember&) = delete;
  GroupMember& operator=(const GroupMember&) = delete;
  ~GroupMember();

  // The limits of the leader's steps, which the decoder must be made for.
  const StepLimits& limits() const { return limits_; }
  // For this rank's decoder; lives as long as the member.
  Communicator* communicator() { return communicator_.get(); }

  // Whether the rank was interrupted or the leader is gone, so that it has nothing left to do. Any
  // thread.
  bool abandoned() const { return abandoned_; }

  // Tells the leader that this rank can run steps, and the digest of its weights
  // (model/checkpoint/weights_digest.h).
  absl::Status SendReady(const Decoder& decoder, int64_t weight_bytes,
                         absl::string_view weights_digest, int metrics_port);

  // Called after a step with the time that it took, and how much of it this rank spent in
  // collectives, if that was measured.
  using OnStep =
      std::function<void(absl::Duration step_time, std::optional<absl::Duration> comm_time)>;

  // Runs steps until the leader says stop (OK). Errors: between steps, UNAVAILABLE when the leader
  // is gone and CANCELLED if interrupted; INTERNAL for a plan that does not fit the ones before;
  // what the decoder failed with, which is ABORTED when the leader goes, the rank is interrupted or
  // another rank gives up during a step.
  absl::Status Serve(Decoder& decoder, const OnStep& on_step);

  // Tells the leader that this rank cannot go on.
  void SendFailed(const absl::Status& status);

 private:
  GroupMember(RankChannel channel, int interrupt_fd, UniqueFd stop_event)
      : channel_(std::move(channel)),
        interrupt_fd_(interrupt_fd),
        stop_event_(std::move(stop_event)) {}
  absl::Status RunSteps(Decoder& decoder, const OnStep& on_step);
  // What watcher_ runs: sends a pulse in each interval, and waits for the leader's end, the
  // interrupt or the destructor.
  void WatchLeader(absl::Duration pulse_interval);
  void SendPulse();
  absl::Status Send(const worker::v1::RankMessage& message);

  RankChannel channel_;
  const int interrupt_fd_;
  UniqueFd stop_event_;
  uint64_t epoch_ = 0;
  StepLimits limits_;
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
