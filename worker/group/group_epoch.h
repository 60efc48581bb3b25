// One forming of a worker group, as rank 0 sees it: from its communicator to the loss of a rank.
//
//   GroupEpoch epoch(options, survivors);           // of the epoch before; none at first
//   epoch.Form();                                   // ranks run and know their limits
//   ... load weights, make a Decoder on epoch.communicator() ...
//   epoch.AwaitReady(&decoder, digest);             // ranks have loaded the same weights
//   epoch.Submit(step);                             // for the engine, any number of times
//   epoch.Await();
//   epoch.Stop(timeout);                            // or survivors = epoch.Retire()
//
// A rank that has joined is lost when its process ends, its connection closes, it says that it
// failed, or it is silent or comes no further in a step (pulse_watch.h). The epoch is then over,
// for good: communicator and decoder are aborted, so that nobody waits for the dead, and Await
// fails with the cause. GroupLeader (group_leader.h) then forms the next one with the ranks that
// are left.
//
// Three things are done here, in a file each: the group forms (group_forming.cc), is watched
// (group_monitor.cc), and executes steps (group_epoch.cc).
#ifndef PHALANX_WORKER_GROUP_GROUP_EPOCH_H_
#define PHALANX_WORKER_GROUP_GROUP_EPOCH_H_

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
#include "base/unique_fd.h"
#include "phalanx/worker/v1/rank.pb.h"
#include "worker/comm/communicator.h"
#include "worker/comm/communicator_factory.h"
#include "worker/group/pulse_watch.h"
#include "worker/group/rank_board.h"
#include "worker/group/rank_channel.h"
#include "worker/group/rank_identity.h"
#include "worker/group/rank_load.h"
#include "worker/group/rank_meeting.h"
#include "worker/group/rank_process.h"
#include "worker/group/rank_reception.h"
#include "worker/group/step_plan_codec.h"
#include "worker/group/step_runner.h"
#include "worker/model/decoder.h"
#include "worker/step/step.h"

namespace phalanx {

class GroupEpoch {
 public:
  struct Options {
    int world = 1;
    StepLimits limits;
    // How the ranks meet; lent, must be set. All of them need the same kind.
    CommunicatorFactory* communicators = nullptr;
    // What every rank must have in common with the leader; a rank that differs is refused.
    RankIdentity identity;
    // Where the ranks join: a Unix socket, see unix_socket.h, or, if `tcp` is set, a port. Nobody
    // may listen there yet. The leader listens there only while ranks are missing.
    std::string address;
    std::optional<RankTcp> tcp = std::nullopt;
    // Gives the command line that starts a rank as a child process. If null, the leader starts none
    // and waits for ranks that others start.
    std::function<std::vector<std::string>(int rank)> rank_command;
    // A number that earlier epochs did not have: a rank refuses plans of another one.
    uint64_t epoch = 1;
    // How long Form waits until all have joined, and how long AwaitReady waits until all are
    // ready.
    absl::Duration startup_timeout = absl::Minutes(2);
    // How long a connection may take to say who it is. It holds up no other connection.
    absl::Duration handshake_timeout = absl::Seconds(10);
    // How long a rank may be silent or come no further in a step; see pulse_watch.h.
    absl::Duration stall_timeout = absl::Milliseconds(2500);
    // How long a collective waits for a rank. To be longer than stall_timeout, whose error says
    // more.
    absl::Duration step_timeout = absl::Minutes(1);
    // How many steps may be in flight, 1 or 2. With two, steps run on a thread of their own.
    int steps_in_flight = 1;
    // A descriptor that becomes readable when Form and AwaitReady are to give up; -1 for none.
    int interrupt_fd = -1;
    // Called at most once, from another thread: the epoch is over, and neither Stop nor Abandon was
    // the reason. loss() tells more.
    std::function<void(const absl::Status&)> on_lost = [](const absl::Status&) {};
    // Called several times a second, by one thread, with the longest time that any rank has now
    // been silent for.
    std::function<void(absl::Duration silence)> on_pulse = [](absl::Duration) {};
    // Called after each step by the thread that runs steps, with the time that it took on rank 0.
    std::function<void(absl::Duration step_time, const StepResult& result)> on_step =
        [](absl::Duration, const StepResult&) {};
    // Is told of the ranks, but for where rank 0 is and what it loads; lent. Null if nobody wants
    // to know.
    RankBoard* board = nullptr;
  };

  // What a rank said when it was ready.
  struct RankInfo {
    int64_t weight_bytes = 0;
    int64_t kv_arena_bytes = 0;
    int metrics_port = 0;
    std::string weights_digest;
    // The address of its host, as this one sees it; empty if ranks meet at a Unix socket.
    std::string host;
  };

  // A rank that was well when an epoch ended: it keeps its process, weights and connection.
  struct Survivor {
    int rank = 0;
    std::unique_ptr<RankProcess> process;  // Null if others started it.
    std::unique_ptr<RankChannel> channel;
    pid_t pid = 0;
    // Whether it has loaded its weights: it has been ready in an epoch.
    bool loaded = false;
  };

  // How an epoch ended.
  struct Loss {
    // OK if it has not ended.
    absl::Status cause;
    // Whether there is no use in forming the group again: a rank does not fit, or cannot do its
    // work, or rank 0 itself is broken.
    bool final = false;
    // Which rank is to be replaced; -1 if that is not known.
    int rank = -1;
    // Whether that rank had loaded its weights.
    bool loaded = false;
  };

  GroupEpoch(const Options& options, std::vector<Survivor> survivors);
  GroupEpoch(const GroupEpoch&) = delete;
  GroupEpoch& operator=(const GroupEpoch&) = delete;
  // Stops the group as Stop does, with a timeout of zero.
  ~GroupEpoch();

  // Starts the ranks that are missing and blocks until all have joined. The thread that calls it
  // must outlive the group (see RankProcess). UNAVAILABLE if a rank ends or does not come,
  // FAILED_PRECONDITION if one that was started here does not fit (wrong number, world or identity)
  // or the transport does not reach other hosts, CANCELLED if interrupted: messages name the rank.
  // Connections that do not join are turned away, with a line in the log, and so are ranks that
  // others started and that do not fit: their places stay free.
  absl::Status Form();

  // For rank 0's decoder, after Form; lives as long as the epoch.
  Communicator* communicator() { return communicator_.get(); }

  // Blocks until all ranks are ready, and takes `decoder`, lent until Stop or an error, for rank
  // 0's part of the steps. `weights_digest` (model/checkpoint/weights_digest.h) is that of rank 0's
  // files. Errors: the status that the group was lost with, UNAVAILABLE after the startup timeout,
  // FAILED_PRECONDITION if a rank has other weights, CANCELLED if interrupted.
  absl::Status AwaitReady(Decoder* decoder, absl::string_view weights_digest);
  // Indexed by rank; rank 0's entry is empty. To be called after AwaitReady.
  std::vector<RankInfo> ranks() const;

  // See StepExecutor. Engine thread only.
  absl::Status Submit(Step step);
  absl::Status SubmitForward(StepBlock forward);
  absl::Status SubmitSampling(SamplingBlock sampling);
  absl::StatusOr<StepResult> Await();

  // How the epoch ended. Any thread.
  Loss loss() const;

  // Breaks off the step that runs: Await fails soon, on this rank and the others. After that the
  // group can only be stopped. on_lost is not called. Any thread.
  void Abandon();

  // Ends the epoch so that another can follow: has the ranks break off what they do, and gives out
  // those that are well as far as that is known. The child that was lost is killed. The decoder is
  // not used any more. No call of Submit or Await may run or follow, and none of Stop.
  std::vector<Survivor> Retire();

  // Tells the ranks to leave and waits for those that are our children; kills them after `timeout`.
  // No call of Submit or Await may run or follow.
  void Stop(absl::Duration timeout);

 private:
  struct Member {
    std::unique_ptr<RankProcess> process;  // Null if others started it.
    std::unique_ptr<RankChannel> channel;
    pid_t pid = 0;  // The process that joined.
    bool joined = false;
    bool ready = false;
    // Whether it has been ready in this epoch or an earlier one.
    bool loaded = false;
    // Whether what it says belongs to this epoch. A survivor has to leave the one before first, and
    // until then only its end counts.
    bool fenced = false;
    // When a survivor must have done so. One that is loading its weights looks at its messages when
    // it has them.
    absl::Time fence_deadline = absl::InfiniteFuture();
    RankInfo info;
  };

  // In group_forming.cc, called by the owner's thread:
  // Has the survivors come over from the epoch before. Those that cannot be told are missing then.
  void CallSurvivors();
  absl::Status StartRanks();
  absl::Status AwaitJoins();
  absl::Status AwaitReadyRanks(absl::string_view weights_digest);
  absl::Status CheckWeights(absl::string_view weights_digest) const
      EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool AllJoined() const;
  // There too, called by the monitor: lets a rank in, or turns it away. An error says why the group
  // cannot form.
  absl::Status Admit(RankReception::Arrival arrival);
  absl::StatusOr<int> CheckJoin(const worker::v1::Join& join) const;
  // Whether the process is a rank that was started here.
  bool IsChild(pid_t pid) const;
  void FillWelcome(worker::v1::Welcome* welcome) const;

  // In group_epoch.cc, called by the engine thread, or by the runner's:
  // Sends a part of a step to the other ranks.
  absl::Status SendToRanks(const worker::v1::LeaderMessage& message);
  // What Decoder's functions of these names do, watched by the monitor.
  absl::Status LaunchForward(const StepBlock& forward);
  absl::Status LaunchSampling(const SamplingBlock& sampling);
  absl::StatusOr<StepResult> AwaitStep();
  // Why the epoch is over, to which the decoder's failure of a step is one of the clues.
  absl::Status Explain(const absl::Status& failure);
  // Gives the monitor a moment to find out why the epoch is over; if it does not, `symptom` is
  // given as the cause, with rank `rank` to blame. Returns the cause.
  absl::Status LoseBySymptom(absl::string_view symptom, int rank);

  // In group_monitor.cc: what the monitor thread runs. No other thread accepts connections or
  // receives messages. It ends with the epoch, or on Stop.
  void Monitor(std::unique_ptr<RankReception> reception);
  // Waits for the next event and deals with it. Returns whether to go on.
  bool MonitorOnce(std::unique_ptr<RankReception>& reception, bool& interruptible);
  // A descriptor that becomes readable when the rank has something to say or has ended; -1 if there
  // is none.
  static int WatchedFd(const Member& member);
  // To be called when WatchedFd of the rank is readable: takes in its message or its end.
  Loss HearRank(int rank);
  Loss HearMessage(int rank);
  Loss TakeIn(int rank, const worker::v1::RankMessage& message);
  Loss TakeReady(int rank, const worker::v1::Ready& ready);
  // Tells the board of a rank's heartbeat and load.
  void ReportPulse(int rank, const worker::v1::RankMessage& message);
  // To be called once in each interval of the pulse.
  Loss CheckPulses();
  // Whether a rank does not leave the epoch before in time.
  Loss CheckFences();
  // A rank's process has ended, or its connection.
  Loss LossOfConnection(int rank, const absl::Status& channel_status);
  Loss LossOf(int rank, const absl::Status& cause) const;
  void EndMonitor();
  // Ends AwaitJoins or AwaitReady. False if all ranks are ready: then there is nothing to end.
  bool InterruptStart();

  // Any thread: ends the epoch, if it has not ended yet.
  void Lose(const Loss& loss);
  // Ends what this rank waits for in a step, and the collectives of the others.
  void BreakOffStep();
  absl::Status lost() const;

  const Options options_;
  std::unique_ptr<Communicator> communicator_;
  // What each rank gets when it joins, for CommunicatorFactory::Join.
  CommunicatorFactory::Invitation invitation_;
  // Set to null, and aborted, under mutex_: after AwaitReady has failed nobody may use it.
  std::atomic<Decoder*> decoder_ = nullptr;
  StepSequence sequence_;
  worker::v1::LeaderMessage plan_message_;
  worker::v1::LeaderMessage sampling_message_;
  // The parts of the step that waits for Await to run it, if there is no runner_.
  std::optional<StepBlock> forward_to_run_;
  std::optional<SamplingBlock> sampling_to_run_;
  // When the oldest step in flight was launched, or had its turn. Of the thread that runs steps.
  absl::Time step_start_;
  RankLoadCounter load_;
  // Indexed by rank; entry 0 stays empty. The monitor fills in who joins. `joined`, `ready` and
  // `info` are guarded by mutex_. `channel` is not: until all ranks have joined only the monitor
  // uses it; then the engine thread sends and the monitor receives. `pid`, `loaded` and `fenced`
  // are the monitor's own while it runs.
  std::vector<Member> members_;
  UniqueFd stop_event_;
  // Both are used by the monitor thread alone, once it runs.
  PulseWatch pulse_watch_;
  absl::Time next_pulse_check_;
  std::thread monitor_;

  mutable Mutex mutex_;
  // Signalled when a rank has joined or is ready, or the epoch is over.
  CondVar changed_;
  Loss loss_ GUARDED_BY(mutex_);
  // The owner ends the group, so that what breaks is no loss to tell of.
  bool stopping_ GUARDED_BY(mutex_) = false;
  // Those that were launched and are not done, the oldest first.
  std::deque<RunningStep> running_steps_ GUARDED_BY(mutex_);
  uint64_t steps_ GUARDED_BY(mutex_) = 0;
  // Null if only one step may be in flight. The last member, since its thread uses the others.
  std::unique_ptr<StepRunner> runner_;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_GROUP_GROUP_EPOCH_H_
