// What a stranger says to a leader at whose port no TLS keeps it away. The first byte of the input
// chooses whether there is a secret, the second where the rest is cut in two.
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/log.h"
#include "base/unique_fd.h"
#include "worker/group/group_secret.h"
#include "worker/group/rank_identity.h"
#include "worker/group/rank_meeting.h"
#include "worker/group/rank_reception.h"
#include "worker/net/stream_socket.h"

namespace {

// One connection waits.
class OneVisitor final : public phalanx::RankListener {
 public:
  explicit OneVisitor(phalanx::UniqueFd socket) : socket_(std::move(socket)) {}

  int fd() const override { return waiting_.get(); }
  absl::StatusOr<Visitor> Accept() override {
    waiting_ = phalanx::UniqueFd(eventfd(0, EFD_CLOEXEC));
    return Visitor{phalanx::MakeStreamLink(phalanx::StreamSocket::Adopt(std::move(socket_)))};
  }

 private:
  phalanx::UniqueFd waiting_{eventfd(1, EFD_CLOEXEC)};
  phalanx::UniqueFd socket_;
};

// Sends it as far as the socket takes it, without waiting.
void Say(int socket, absl::string_view text) {
  [[maybe_unused]] const ssize_t sent =
      send(socket, text.data(), text.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  phalanx::SetMinLogSeverity(phalanx::LogSeverity::kError);
  if (size < 2) return 0;
  const bool has_secret = (data[0] & 1) != 0;
  const absl::string_view text(reinterpret_cast<const char*>(data) + 2, size - 2);
  const size_t cut = text.size() * data[1] / 256;
  int ends[2];
  CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
  phalanx::UniqueFd stranger(ends[0]);
  std::optional<phalanx::GroupSecret> secret;
  if (has_secret) secret.emplace("not to be guessed");
  phalanx::RankReception reception(std::make_unique<OneVisitor>(phalanx::UniqueFd(ends[1])),
                                   absl::Minutes(1), secret);
  for (const absl::string_view part : {text.substr(0, cut), text.substr(cut)}) {
    Say(stranger.get(), part);
    for (phalanx::RankReception::Arrival& arrival : reception.Receive()) {
      CHECK(!has_secret);
      // Whoever arrives can be compared with the leader, whatever it says of itself.
      const phalanx::RankIdentity identity = phalanx::IdentityFrom(arrival.join);
      CHECK(phalanx::CheckSameIdentity(1, identity, identity).ok());
    }
  }
  return 0;
}
