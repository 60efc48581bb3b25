#include "worker/group/rank_reception.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/status.h"
#include "worker/group/poll_readable.h"

namespace phalanx {
namespace {

// Connections that may be here without having said who they are. When one more comes the oldest is
// turned away, so that a flood of them keeps no rank out.
constexpr size_t kMaxGuests = 64;
// Time between two tries when the system cannot accept, for example for want of descriptors.
constexpr absl::Duration kAcceptPause = absl::Milliseconds(100);

bool IsReadable(int fd) { return PollReadable({fd}, absl::InfinitePast()).ok(); }

void LogTurnedAway(const std::string& who, absl::string_view why) {
  LOG(WARNING) << "turned away " << who << ", which wanted to join: " << why;
}

}  // namespace

RankReception::RankReception(std::unique_ptr<RankListener> listener, absl::Duration patience,
                             std::optional<GroupSecret> secret)
    : listener_(std::move(listener)), patience_(patience), secret_(std::move(secret)) {}

void RankReception::AppendFds(std::vector<int>* fds) const {
  // A listener that cannot accept stays readable, and would keep the caller's loop busy.
  const bool accepts = MonotonicClock()->Now() >= accept_again_;
  fds->push_back(accepts ? listener_->fd() : -1);
  for (const Guest& guest : guests_) fds->push_back(guest.channel->fd());
}

absl::Time RankReception::next_deadline() const {
  // Every guest has the same patience, so the oldest one's deadline comes first.
  absl::Time next = guests_.empty() ? absl::InfiniteFuture() : guests_.front().deadline;
  if (MonotonicClock()->Now() < accept_again_) next = std::min(next, accept_again_);
  return next;
}

std::vector<RankReception::Arrival> RankReception::Receive() {
  Accept();
  std::vector<Arrival> arrivals;
  // Each guest, whether its socket is readable or not: its time may be over.
  for (auto it = guests_.begin(); it != guests_.end();) {
    Guest& guest = *it;
    worker::v1::Join join;
    const absl::StatusOr<bool> joined = Hear(guest, &join);
    if (joined.ok() && !*joined) {
      ++it;
      continue;
    }
    if (joined.ok()) {
      std::string proof = secret_.has_value() ? secret_->LeadersProof(guest.nonce, join) : "";
      arrivals.push_back({std::move(guest.channel), guest.pid, std::move(join), std::move(proof)});
    } else {
      TellWhy(guest, joined.status());
      LogTurnedAway(guest.channel->peer(), joined.status().message());
    }
    it = guests_.erase(it);
  }
  return arrivals;
}

absl::StatusOr<bool> RankReception::Hear(Guest& guest, worker::v1::Join* join) const {
  worker::v1::RankMessage message;
  ASSIGN_OR_RETURN(const bool whole, guest.channel->ReceiveArrived(&message));
  RETURN_IF_ERROR(Challenge(guest));
  if (whole) {
    if (!message.has_join()) return absl::DataLossError("its first message is not Join");
    if (secret_.has_value() && !secret_->Proves(guest.nonce, message.join())) {
      return absl::PermissionDeniedError("it does not know the group's secret");
    }
    *join = std::move(*message.mutable_join());
    return true;
  }
  if (MonotonicClock()->Now() < guest.deadline) return false;
  return absl::DeadlineExceededError(
      absl::StrCat("it did not say who it is within ", absl::FormatDuration(patience_)));
}

void RankReception::TellWhy(Guest& guest, const absl::Status& why) {
  // Others do not speak the protocol, or are too late to be told.
  if (!absl::IsPermissionDenied(why) || !guest.channel->ready()) return;
  worker::v1::LeaderMessage message;
  message.mutable_refused()->set_message(std::string(why.message()));
  guest.channel->Send(message).IgnoreError();
}

absl::Status RankReception::Challenge(Guest& guest) const {
  if (!secret_.has_value() || !guest.nonce.empty() || !guest.channel->ready()) {
    return absl::OkStatus();
  }
  guest.nonce = NewNonce();
  worker::v1::LeaderMessage message;
  message.mutable_challenge()->set_nonce(guest.nonce);
  // Does not wait: a new connection has room for so little.
  return guest.channel->Send(message);
}

void RankReception::Accept() {
  const absl::Time now = MonotonicClock()->Now();
  if (now < accept_again_) return;
  // No more at a time than there are places, so that somebody who connects again and again cannot
  // keep this thread here.
  for (size_t accepted = 0; accepted < kMaxGuests && IsReadable(listener_->fd()); ++accepted) {
    absl::StatusOr<RankListener::Visitor> visitor = listener_->Accept();
    if (absl::IsPermissionDenied(visitor.status())) {
      LOG(WARNING) << "turned away at the group's socket: " << visitor.status().message();
      continue;
    }
    if (!visitor.ok()) {
      LOG(WARNING) << visitor.status().message();
      accept_again_ = now + kAcceptPause;
      return;
    }
    if (guests_.size() == kMaxGuests) {
      LogTurnedAway(guests_.front().channel->peer(),
                    "too many connections have not said who they are");
      guests_.pop_front();
    }
    guests_.push_back(
        {std::make_unique<RankChannel>(std::move(visitor->link), kMaxMessageBytesFromRank),
         visitor->pid, now + patience_, ""});
  }
}

}  // namespace phalanx
