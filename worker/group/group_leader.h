// Rank 0 of a worker group: forms the group, sends it the steps, notices when it is lost.
//
//   auto leader = GroupLeader::Start(options);      // ranks run and know their limits
//   ... load weights, make a Decoder on (*leader)->communicator() ...
//   (*leader)->AwaitReady(&decoder);                // ranks have loaded theirs
//   (*leader)->Execute(input);                      // for the engine, any number of times
//   (*leader)->Stop(timeout);
//
// A rank is lost when its process ends, its socket closes, or it says that it failed. The group is
// then lost as a whole, for good: the communicator is aborted, so that nobody waits for the dead,
// and Execute fails with the cause.
#ifndef PHALANX_WORKER_GROUP_GROUP_LEADER_H_
#define PHALANX_WORKER_GROUP_GROUP_LEADER_H_

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "phalanx/worker/v1/rank.pb.h"
#include "worker/comm/communicator.h"
#include "worker/engine/step_executor.h"
#include "worker/group/rank_channel.h"
#include "worker/group/rank_process.h"
#include "worker/group/step_plan_codec.h"
#include "worker/group/unix_socket.h"
#include "worker/model/decoder.h"
#include "worker/model/step_input.h"

namespace phalanx {

class GroupLeader final : public StepExecutor {
 public:
  struct Options {
    int world = 1;
    StepLimits limits;
    // model/fingerprint.h; a rank with another one is refused.
    std::string fingerprint;
    // Where the ranks join, see unix_socket.h. Must not exist yet; gone once all have joined.
    std::string address;
    // Command line of rank r as its child process; null waits for ranks that others start.
    std::function<std::vector<std::string>(int rank)> rank_command;
    // Distinguishes this group from its predecessors.
    uint64_t epoch = 1;
    // Until all have joined, and again until all are ready.
    absl::Duration startup_timeout = absl::Minutes(2);
    // How long a collective waits for a rank before it counts as hung.
    absl::Duration step_timeout = absl::Minutes(1);
    // Readable when Start and AwaitReady are to give up; -1 is never.
    int interrupt_fd = -1;
    // Called at most once, from another thread, when the group is lost while nobody stopped it.
    std::function<void(const absl::Status&)> on_lost = [](const absl::Status&) {};
  };

  // What a rank said when it was ready.
  struct RankInfo {
    int64_t weight_bytes = 0;
    int64_t kv_arena_bytes = 0;
    int metrics_port = 0;
  };

  // Blocks until all ranks have joined. The thread that calls it must outlive the group (see
  // RankProcess). UNAVAILABLE if a rank ends or does not come, FAILED_PRECONDITION if one does not
  // fit (wrong number, world or model), CANCELLED if interrupted: messages name the rank. Processes
  // of other users are turned away.
  static absl::StatusOr<std::unique_ptr<GroupLeader>> Start(Options options);
  GroupLeader(const GroupLeader&) = delete;
  GroupLeader& operator=(const GroupLeader&) = delete;
  // As Stop with no patience.
  ~GroupLeader() override;

  // For rank 0's decoder; lives as long as the leader.
  Communicator* communicator() { return communicator_.get(); }

  // Blocks until all ranks are ready and takes `decoder`, lent until Stop, for rank 0's part of the
  // steps. The status that the group was lost with, UNAVAILABLE after the startup timeout, or
  // CANCELLED if interrupted.
  absl::Status AwaitReady(Decoder* decoder);
  // By rank; rank 0's entry is empty. After AwaitReady.
  std::vector<RankInfo> ranks() const;

  // See StepExecutor. Engine thread only.
  absl::StatusOr<StepResult> Execute(const StepInput& input) override;

  // Tells the ranks to leave and waits for those that are our children; kills them after `timeout`.
  // No Execute may run or follow.
  void Stop(absl::Duration timeout);

 private:
  struct Member {
    std::unique_ptr<RankProcess> process;  // Null if others started it.
    std::unique_ptr<RankChannel> channel;
    pid_t pid = 0;  // Of the process that joined.
    bool ready = false;
    RankInfo info;
  };

  explicit GroupLeader(Options options);
  absl::Status Form();
  absl::Status StartRanks();
  absl::Status AcceptRank(const UnixListener& listener, int segment_fd, absl::Time deadline);
  absl::StatusOr<UniqueFd> AcceptConnection(const UnixListener& listener, absl::Time deadline);
  // Until `fd` is readable, unless a child ends before.
  absl::Status AwaitReadable(int fd, absl::Time deadline);
  absl::StatusOr<int> CheckJoin(const worker::v1::Join& join) const;
  absl::Status DescribeFailedJoin(pid_t pid, const absl::Status& status);
  absl::Status DescribeLoss(int rank, const absl::Status& channel_status);
  // The monitor thread: the only one that receives.
  void Monitor();
  // Why the group is lost, if it is. ABORTED is the echo of a loss that is to be told elsewhere.
  absl::Status ReceiveFrom(int rank);
  // Ends AwaitReady. False if the ranks were all ready before: then there is nothing to end.
  bool InterruptLoading();
  void Lose(const absl::Status& cause);
  // Gives the monitor a moment to see the cause; without one, `symptom` is it.
  absl::Status LoseBySymptom(absl::string_view symptom);
  absl::Status lost() const;

  const Options options_;
  std::unique_ptr<Communicator> communicator_;
  Decoder* decoder_ = nullptr;
  StepSequence sequence_;
  worker::v1::LeaderMessage plan_message_;
  // By rank; entry 0 stays empty. Made before the monitor starts; `ready` and `info` are guarded.
  std::vector<Member> members_;
  UniqueFd stop_event_;
  std::thread monitor_;

  mutable Mutex mutex_;
  CondVar ready_changed_;
  absl::Status lost_ GUARDED_BY(mutex_);
  bool stopping_ GUARDED_BY(mutex_) = false;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_GROUP_GROUP_LEADER_H_
