#include "worker/group/group_leader.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/status.h"
#include "worker/group/poll_readable.h"

namespace phalanx {

absl::StatusOr<std::unique_ptr<GroupLeader>> GroupLeader::Start(const Options& options) {
  std::unique_ptr<GroupLeader> leader(new GroupLeader(options));
  if (absl::Status status = leader->epoch_->Form(); !status.ok()) {
    RETURN_IF_ERROR(leader->TakeLoss(status));
    RETURN_IF_ERROR(leader->FormAgain());
  }
  return leader;
}

GroupLeader::GroupLeader(const Options& options)
    : options_(options),
      restarts_(options.restarts),
      epoch_(std::make_unique<GroupEpoch>(options.epoch, std::vector<GroupEpoch::Survivor>())) {}

bool GroupLeader::CanHeal() const {
  const GroupEpoch::Loss loss = epoch_->loss();
  return !loss.cause.ok() && !loss.final;
}

absl::Status GroupLeader::TakeLoss(const absl::Status& failure) {
  // Without a loss something else was wrong, for example a rank that did not come in time.
  if (!CanHeal()) return failure;
  const absl::StatusOr<absl::Duration> delay = restarts_.Lost(MonotonicClock()->Now());
  if (!delay.ok()) {
    return absl::Status(
        delay.status().code(),
        absl::StrCat(delay.status().message(), "; the last time: ", failure.message()));
  }
  return WaitFor(*delay);
}

absl::Status GroupLeader::WaitFor(absl::Duration delay) const {
  const absl::StatusOr<size_t> interrupt =
      PollReadable({options_.epoch.interrupt_fd}, MonotonicClock()->Now() + delay);
  if (interrupt.ok()) return absl::CancelledError("interrupted while the group formed again");
  return absl::IsDeadlineExceeded(interrupt.status()) ? absl::OkStatus() : interrupt.status();
}

absl::Status GroupLeader::FormAgain() {
  while (true) {
    std::vector<GroupEpoch::Survivor> survivors = epoch_->Retire();
    LOG(INFO) << "epoch " << options_.epoch.epoch + 1 << " of the group forms, "
              << survivors.size() + 1 << " of " << options_.epoch.world << " ranks are left";
    // The decoder may hold on to the communicator of the first epoch that was lost.
    if (decoders_epoch_ == nullptr) decoders_epoch_ = std::move(epoch_);
    ++options_.epoch.epoch;
    rank_restarts_ += options_.epoch.world - 1 - static_cast<int>(survivors.size());
    epoch_ = std::make_unique<GroupEpoch>(options_.epoch, std::move(survivors));
    absl::Status status = epoch_->Form();
    if (status.ok()) return status;
    RETURN_IF_ERROR(TakeLoss(status));
  }
}

absl::Status GroupLeader::AwaitReady(Decoder* decoder, absl::string_view weights_digest,
                                     const Rejoin& rejoin) {
  // An epoch that was lost while it formed has had no decoder.
  decoders_epoch_.reset();
  absl::Status status = epoch_->AwaitReady(decoder, weights_digest);
  if (status.ok()) {
    restarts_.Ready();
    return status;
  }
  if (!CanHeal()) return status;
  return Heal(rejoin, weights_digest);
}

absl::Status GroupLeader::Heal(const Rejoin& rejoin, absl::string_view weights_digest) {
  absl::Status status = epoch_->loss().cause;
  while (true) {
    RETURN_IF_ERROR(TakeLoss(status));
    RETURN_IF_ERROR(FormAgain());
    ASSIGN_OR_RETURN(Decoder* const decoder, rejoin(epoch_->communicator()));
    decoders_epoch_.reset();
    status = epoch_->AwaitReady(decoder, weights_digest);
    if (!status.ok()) continue;
    restarts_.Ready();
    return status;
  }
}

}  // namespace phalanx
