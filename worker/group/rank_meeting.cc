#include "worker/group/rank_meeting.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/status.h"
#include "worker/group/poll_readable.h"
#include "worker/group/unix_socket.h"
#include "worker/net/stream_socket.h"

namespace phalanx {
namespace {

// A leader asks for its secret as soon as it has accepted.
constexpr absl::Duration kChallengePatience = absl::Seconds(10);
constexpr absl::Duration kRetryInterval = absl::Milliseconds(100);

class UnixRankListener final : public RankListener {
 public:
  explicit UnixRankListener(UnixListener listener) : listener_(std::move(listener)) {}

  int fd() const override { return listener_.fd(); }
  absl::StatusOr<Visitor> Accept() override {
    ASSIGN_OR_RETURN(UniqueFd socket, listener_.Accept());
    const pid_t pid = PeerPid(socket);
    return Visitor{MakeUnixLink(std::move(socket)), pid};
  }

 private:
  const UnixListener listener_;
};

class TcpRankListener final : public RankListener {
 public:
  explicit TcpRankListener(StreamListener listener) : listener_(std::move(listener)) {}

  int fd() const override { return listener_.fd(); }
  absl::StatusOr<Visitor> Accept() override {
    ASSIGN_OR_RETURN(std::unique_ptr<StreamSocket> stream, listener_.Accept());
    return Visitor{MakeStreamLink(std::move(stream))};
  }

 private:
  StreamListener listener_;
};

absl::StatusOr<std::string> AwaitChallenge(RankChannel& channel, const ReceiveOptions& options) {
  ReceiveOptions hasty = options;
  hasty.timeout = std::min(options.timeout, kChallengePatience);
  worker::v1::LeaderMessage message;
  const absl::Status status = channel.Receive(&message, hasty);
  if (absl::IsDeadlineExceeded(status) || (status.ok() && !message.has_challenge())) {
    return absl::PermissionDeniedError(
        "the leader does not ask for the group's secret: give it the same flags");
  }
  RETURN_IF_ERROR(status);
  return message.challenge().nonce();
}

}  // namespace

absl::StatusOr<std::unique_ptr<RankListener>> ListenForRanks(const RankMeeting& meeting) {
  if (meeting.tcp.has_value()) {
    ASSIGN_OR_RETURN(StreamListener listener,
                     StreamListener::Create(meeting.tcp->address, meeting.tcp->credentials));
    return std::make_unique<TcpRankListener>(std::move(listener));
  }
  ASSIGN_OR_RETURN(UnixListener listener, UnixListener::Create(meeting.socket));
  return std::make_unique<UnixRankListener>(std::move(listener));
}

absl::StatusOr<std::unique_ptr<RankLink>> DialLeader(const RankMeeting& meeting,
                                                     absl::Duration timeout, int interrupt_fd) {
  if (meeting.tcp.has_value()) {
    ASSIGN_OR_RETURN(std::unique_ptr<StreamSocket> stream,
                     StreamSocket::Connect(meeting.tcp->address, meeting.tcp->credentials,
                                           MonotonicClock()->Now() + timeout, interrupt_fd));
    return MakeStreamLink(std::move(stream));
  }
  ASSIGN_OR_RETURN(UniqueFd socket, ConnectUnix(meeting.socket, timeout, interrupt_fd));
  return MakeUnixLink(std::move(socket));
}

absl::StatusOr<worker::v1::Welcome> SayJoin(RankChannel& channel, worker::v1::Join join,
                                            const GroupSecret* secret,
                                            const ReceiveOptions& options) {
  std::string leaders_nonce;
  if (secret != nullptr) {
    ASSIGN_OR_RETURN(leaders_nonce, AwaitChallenge(channel, options));
    secret->Prove(leaders_nonce, &join);
  }
  worker::v1::RankMessage request;
  *request.mutable_join() = std::move(join);
  RETURN_IF_ERROR(channel.Send(request));
  worker::v1::LeaderMessage answer;
  RETURN_IF_ERROR(channel.Receive(&answer, options));
  if (answer.has_refused()) {
    return absl::FailedPreconditionError(
        absl::StrCat("the leader refused this rank: ", answer.refused().message()));
  }
  if (answer.has_challenge()) {
    return absl::PermissionDeniedError(
        "the leader asks for the group's secret: give this rank --group_secret_file too");
  }
  if (!answer.has_welcome()) return absl::DataLossError("the leader's answer is no Welcome");
  if (secret != nullptr &&
      !SameProof(answer.welcome().proof(), secret->LeadersProof(leaders_nonce, request.join()))) {
    return absl::PermissionDeniedError("the leader does not know the group's secret");
  }
  return std::move(*answer.mutable_welcome());
}

absl::StatusOr<JoinedRank> JoinLeader(const RankMeeting& meeting, const worker::v1::Join& join,
                                      absl::Duration timeout, int interrupt_fd) {
  const absl::Time deadline = MonotonicClock()->Now() + timeout;
  while (true) {
    const absl::Duration left = deadline - MonotonicClock()->Now();
    ASSIGN_OR_RETURN(std::unique_ptr<RankLink> link, DialLeader(meeting, left, interrupt_fd));
    JoinedRank joined;
    joined.channel = std::make_unique<RankChannel>(std::move(link));
    absl::StatusOr<worker::v1::Welcome> welcome =
        SayJoin(*joined.channel, join, meeting.secret(),
                {.timeout = left, .interrupt_fd = interrupt_fd, .fd = &joined.communicator_fd});
    if (welcome.ok()) {
      joined.welcome = *std::move(welcome);
      return joined;
    }
    const absl::Time now = MonotonicClock()->Now();
    if (!absl::IsUnavailable(welcome.status()) || now >= deadline) return welcome.status();
    LOG(WARNING) << "joining again: " << welcome.status().message();
    if (PollReadable({interrupt_fd}, std::min(deadline, now + kRetryInterval)).ok()) {
      return absl::CancelledError("interrupted while joining");
    }
  }
}

}  // namespace phalanx
