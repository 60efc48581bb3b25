// Rank 0 of a worker group: what the engine executes steps on, through one epoch of the group after
// the other (group_epoch.h).
//
//   auto leader = GroupLeader::Start(options);      // ranks run and know their limits
//   ... load weights, make a Decoder on (*leader)->communicator() ...
//   (*leader)->AwaitReady(&decoder, digest);        // ranks have loaded the same weights
//   (*leader)->Submit(step);                        // for the engine, any number of times
//   (*leader)->Await();
//   ... options.on_lost was called, the engine has paused ...
//   (*leader)->Heal(rejoin, digest);                // and the engine may go on
//   (*leader)->Stop(timeout);
#ifndef PHALANX_WORKER_GROUP_GROUP_LEADER_H_
#define PHALANX_WORKER_GROUP_GROUP_LEADER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "worker/comm/communicator.h"
#include "worker/engine/step_executor.h"
#include "worker/group/group_epoch.h"
#include "worker/group/rank_restarts.h"
#include "worker/model/decoder.h"
#include "worker/step/step.h"

namespace phalanx {

// Start, AwaitReady, Heal and Stop are for the thread that made it, which must outlive it.
class GroupLeader final : public StepExecutor {
 public:
  struct Options {
    // `epoch.epoch` is that of the first one, and grows by one with each that follows.
    // `epoch.on_lost` is called for each that is lost.
    GroupEpoch::Options epoch;
    RankRestarts::Options restarts;
  };

  // Makes rank 0's decoder anew with what is left of the one there is (Decoder::Rejoin), lent like
  // the one that AwaitReady takes.
  using Rejoin = std::function<absl::StatusOr<Decoder*>(Communicator*)>;

  // Blocks until all ranks have joined. A rank that is lost meanwhile, but for one that would be
  // lost again, is replaced. Errors are those of GroupEpoch::Form, and RESOURCE_EXHAUSTED when
  // ranks were lost too often.
  static absl::StatusOr<std::unique_ptr<GroupLeader>> Start(const Options& options);
  GroupLeader(const GroupLeader&) = delete;
  GroupLeader& operator=(const GroupLeader&) = delete;
  ~GroupLeader() override = default;

  // For rank 0's first decoder.
  Communicator* communicator() { return epoch_->communicator(); }

  // As GroupEpoch::AwaitReady, and if a rank is lost meanwhile, as Heal. `decoder` is lent until
  // Heal or Stop.
  absl::Status AwaitReady(Decoder* decoder, absl::string_view weights_digest, const Rejoin& rejoin);

  // Forms the group again after a loss that CanHeal, and blocks until it is ready: ranks that are
  // left keep their weights, the others are started again or waited for. No call of Submit or Await
  // may run. Errors are those of Start, AwaitReady and `rejoin`.
  absl::Status Heal(const Rejoin& rejoin, absl::string_view weights_digest);

  // Whether the group is lost, or will be in a moment, in a way that Heal can mend. Any thread, but
  // not while Heal runs.
  bool CanHeal() const;

  // What GroupEpoch has under these names.
  GroupEpoch::Loss loss() const { return epoch_->loss(); }
  std::vector<GroupEpoch::RankInfo> ranks() const { return epoch_->ranks(); }
  void Abandon() { epoch_->Abandon(); }
  void Stop(absl::Duration timeout) { epoch_->Stop(timeout); }

  // None of these while Heal runs: the number of the present epoch, how many were lost, and how
  // many ranks have been replaced.
  uint64_t epoch() const { return options_.epoch.epoch; }
  int losses() const { return restarts_.total(); }
  int rank_restarts() const { return rank_restarts_; }

  // See StepExecutor. Engine thread only.
  int max_in_flight() const override { return options_.epoch.steps_in_flight; }
  absl::Status Submit(Step step) override { return epoch_->Submit(std::move(step)); }
  absl::Status SubmitForward(StepBlock forward) override {
    return epoch_->SubmitForward(std::move(forward));
  }
  absl::Status SubmitSampling(SamplingBlock sampling) override {
    return epoch_->SubmitSampling(std::move(sampling));
  }
  absl::StatusOr<StepResult> Await() override { return epoch_->Await(); }
  bool Recovers(const absl::Status& failure) override { return CanHeal(); }

 private:
  explicit GroupLeader(const Options& options);
  // Forms epochs until one has formed. Waits for `delay` first.
  absl::Status FormAgain();
  // Takes in that the present epoch failed with `failure`, and waits for as long as restarts_ says.
  // Returns why the group is not to form again, if it is not.
  absl::Status TakeLoss(const absl::Status& failure);
  absl::Status WaitFor(absl::Duration delay) const;

  Options options_;
  RankRestarts restarts_;
  int rank_restarts_ = 0;
  // Whose communicator the decoder uses, if it is not that of epoch_.
  std::unique_ptr<GroupEpoch> decoders_epoch_;
  std::unique_ptr<GroupEpoch> epoch_;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_GROUP_GROUP_LEADER_H_
