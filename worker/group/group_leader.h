// Rank 0 of a worker group: forms the group, sends it the steps, notices when it is lost.
//
//   auto leader = GroupLeader::Start(options);      // ranks run and know their limits
//   ... load weights, make a Decoder on (*leader)->communicator() ...
//   (*leader)->AwaitReady(&decoder, digest);        // ranks have loaded the same weights
//   (*leader)->Submit(step);                        // for the engine, any number of times
//   (*leader)->Await();
//   (*leader)->Stop(timeout);
//
// A rank that has joined is lost when its process ends, its socket closes, it says that it failed,
// or it is silent or comes no further in a step (pulse_watch.h). The group is then lost as a whole,
// for good: communicator and decoder are aborted, so that nobody waits for the dead, and Await
// fails with the cause.
#ifndef PHALANX_WORKER_GROUP_GROUP_LEADER_H_
#define PHALANX_WORKER_GROUP_GROUP_LEADER_H_

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
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
#include "worker/comm/communicator_factory.h"
#include "worker/engine/step_executor.h"
#include "worker/group/pulse_watch.h"
#include "worker/group/rank_channel.h"
#include "worker/group/rank_identity.h"
#include "worker/group/rank_process.h"
#include "worker/group/rank_reception.h"
#include "worker/group/step_plan_codec.h"
#include "worker/group/step_runner.h"
#include "worker/model/decoder.h"
#include "worker/step/step.h"

namespace phalanx {

class GroupLeader final : public StepExecutor {
 public:
  struct Options {
    int world = 1;
    StepLimits limits;
    // How the ranks meet; lent, must be set. All of them need the same kind.
    CommunicatorFactory* communicators = nullptr;
    // What every rank must have in common with the leader; a rank that differs is refused.
    RankIdentity identity;
    // Where the ranks join, see unix_socket.h. Nobody may listen there yet. The leader stops
    // listening there once all have joined.
    std::string address;
    // Gives the command line that starts a rank as a child process. If null, the leader starts none
    // and waits for ranks that others start.
    std::function<std::vector<std::string>(int rank)> rank_command;
    // A number that earlier groups did not have: a rank refuses plans of another epoch.
    uint64_t epoch = 1;
    // How long Start waits until all have joined, and how long AwaitReady waits until all are
    // ready.
    absl::Duration startup_timeout = absl::Minutes(2);
    // How long a connection may take to say who it is. It holds up no other connection.
    absl::Duration handshake_timeout = absl::Seconds(10);
    // How long a rank may be silent or come no further in a step; see pulse_watch.h.
    absl::Duration stall_timeout = absl::Seconds(5);
    // How long a collective waits for a rank. To be longer than stall_timeout, whose error says
    // more.
    absl::Duration step_timeout = absl::Minutes(1);
    // How many steps may be in flight, 1 or 2. With two, steps run on a thread of their own.
    int steps_in_flight = 1;
    // A descriptor that becomes readable when Start and AwaitReady are to give up; -1 for none.
    int interrupt_fd = -1;
    // Called at most once, from another thread: the group is lost, and neither Stop nor Abandon was
    // the reason.
    std::function<void(const absl::Status&)> on_lost = [](const absl::Status&) {};
    // Called several times a second, by one thread, with the longest time that any rank has now
    // been silent for.
    std::function<void(absl::Duration silence)> on_pulse = [](absl::Duration) {};
  };

  // What a rank said when it was ready.
  struct RankInfo {
    int64_t weight_bytes = 0;
    int64_t kv_arena_bytes = 0;
    int metrics_port = 0;
    std::string weights_digest;
  };

  // Blocks until all ranks have joined. The thread that calls it must outlive the group (see
  // RankProcess). UNAVAILABLE if a rank ends or does not come, FAILED_PRECONDITION if one does not
  // fit (wrong number, world or identity), CANCELLED if interrupted: messages name the rank.
  // Connections that do not join are turned away, with a line in the log.
  static absl::StatusOr<std::unique_ptr<GroupLeader>> Start(Options options);
  GroupLeader(const GroupLeader&) = delete;
  GroupLeader& operator=(const GroupLeader&) = delete;
  // Stops the group as Stop does, with a timeout of zero.
  ~GroupLeader() override;

  // For rank 0's decoder; lives as long as the leader.
  Communicator* communicator() { return communicator_.get(); }

  // Blocks until all ranks are ready, and takes `decoder`, lent until Stop or an error, for rank
  // 0's part of the steps. `weights_digest` (model/checkpoint/weights_digest.h) is that of rank 0's
  // files. Errors: the status that the group was lost with, UNAVAILABLE after the startup timeout,
  // FAILED_PRECONDITION if a rank has other weights, CANCELLED if interrupted.
  absl::Status AwaitReady(Decoder* decoder, absl::string_view weights_digest);
  // Indexed by rank; rank 0's entry is empty. To be called after AwaitReady.
  std::vector<RankInfo> ranks() const;

  // See StepExecutor. Engine thread only.
  int max_in_flight() const override { return options_.steps_in_flight; }
  absl::Status Submit(Step step) override;
  absl::StatusOr<StepResult> Await() override;

  // Breaks off the step that runs: Await fails soon, on this rank and the others. After that the
  // group can only be stopped. on_lost is not called. Any thread.
  void Abandon();

  // Tells the ranks to leave and waits for those that are our children; kills them after `timeout`.
  // No call of Submit or
  // Await may run or follow.
  void Stop(absl::Duration timeout);

 private:
  struct Member {
    std::unique_ptr<RankProcess> process;  // Null if others started it.
    std::unique_ptr<RankChannel> channel;
    pid_t pid = 0;  // The process that joined.
    bool joined = false;
    bool ready = false;
    // The rank has said that it gave up because another one had: it is not listened to any more.
    bool silent = false;
    RankInfo info;
  };

  explicit GroupLeader(Options options);
  absl::Status Form();
  absl::Status StartRanks();
  absl::Status AwaitJoins();
  absl::Status AwaitReadyRanks(absl::string_view weights_digest);
  // Runs rank 0's part of a step.
  // What Decoder's functions of these names do, watched by the monitor.
  absl::Status LaunchStep(const Step& step);
  absl::StatusOr<StepResult> AwaitStep();
  // Why the group is lost, to which the decoder's failure of a step is one of the clues.
  absl::Status Explain(const absl::Status& failure);
  absl::Status DescribeLoss(int rank, const absl::Status& channel_status);

  // What the monitor thread runs. No other thread accepts connections or receives messages. It ends
  // when the group is lost, or on Stop.
  void Monitor(std::unique_ptr<RankReception> reception);
  // Waits for the next event and deals with it. Returns whether to go on.
  bool MonitorOnce(std::unique_ptr<RankReception>& reception, bool& interruptible);
  // A descriptor that becomes readable when the rank has something to say or has ended; -1 if the
  // rank is not to be watched.
  int WatchedFd(const Member& member) const;
  // Lets a rank in. An error says why the group cannot form.
  absl::Status Admit(RankReception::Arrival arrival);
  absl::StatusOr<int> CheckJoin(const worker::v1::Join& join) const;
  absl::Status CheckWeights(absl::string_view weights_digest) const
      EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool AllJoined() const;
  // To be called when WatchedFd of the rank is readable: takes in its message or its end. An error
  // says why the group is lost.
  absl::Status HearRank(int rank);
  // Takes in one message. An error says why the group is lost, but for ABORTED: then the rank gave
  // up because another one had, whose own message will say why.
  absl::Status ReceiveFrom(int rank);
  // To be called once in each interval of the pulse. An error says why the group is lost.
  absl::Status CheckPulses();
  // Ends AwaitJoins or AwaitReady. False if all ranks are ready: then there is nothing to end.
  bool InterruptStart();

  void Lose(const absl::Status& cause);
  // Ends what this rank waits for in a step, and the collectives of the others.
  void BreakOffStep();
  // Gives the monitor a moment to find out why the group is lost; if it does not, `symptom` is
  // given as the cause. Returns the cause.
  absl::Status LoseBySymptom(absl::string_view symptom);
  absl::Status lost() const;

  const Options options_;
  std::unique_ptr<Communicator> communicator_;
  // What each rank gets when it joins, for CommunicatorFactory::Join.
  CommunicatorFactory::Invitation invitation_;
  // Set to null, and aborted, under mutex_: after AwaitReady has failed nobody may use it.
  std::atomic<Decoder*> decoder_ = nullptr;
  StepSequence sequence_;
  worker::v1::LeaderMessage plan_message_;
  // Steps that wait for Await to run them, if there is no runner_.
  std::deque<Step> steps_to_run_;
  // Indexed by rank; entry 0 stays empty. The monitor fills in who joins. `joined`, `ready` and
  // `info` are guarded by mutex_. `channel` is not: until all ranks have joined only the monitor
  // uses it; then the engine thread sends and the monitor receives. `pid` and `silent` are the
  // monitor's own.
  std::vector<Member> members_;
  UniqueFd stop_event_;
  // pulse_watch_ and next_pulse_check_ are used by the monitor thread alone.
  PulseWatch pulse_watch_;
  absl::Time next_pulse_check_;
  std::thread monitor_;

  mutable Mutex mutex_;
  // Signalled when a rank has joined or is ready, or the group is lost.
  CondVar changed_;
  // Why the group is lost, or OK.
  absl::Status lost_ GUARDED_BY(mutex_);
  // The owner ends the group, so that what breaks is no loss to tell of.
  bool stopping_ GUARDED_BY(mutex_) = false;
  // Those that were launched and are not done, the oldest first.
  std::deque<RunningStep> running_steps_ GUARDED_BY(mutex_);
  uint64_t steps_ GUARDED_BY(mutex_) = 0;
  // Null if only one step may be in flight. The last member, since its thread uses the others.
  std::unique_ptr<StepRunner> runner_;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_GROUP_GROUP_LEADER_H_
