// Where ranks come in while a group forms. Everybody may connect to a TCP port, and every process
// of this user to the group's socket. Each connection is listened to until it has proved who it is,
// and none holds up the others.
#ifndef PHALANX_WORKER_GROUP_RANK_RECEPTION_H_
#define PHALANX_WORKER_GROUP_RANK_RECEPTION_H_

#include <sys/types.h>

#include <cstddef>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "phalanx/worker/v1/rank.pb.h"
#include "worker/group/group_secret.h"
#include "worker/group/rank_channel.h"
#include "worker/group/rank_meeting.h"

namespace phalanx {

// Thread-compatible. Never blocks. Connections of other users, those that do not prove a
// certificate or the secret, never end that proof, send something else than Join, say nothing or
// hang up are turned away, which is logged and disturbs no other connection.
class RankReception {
 public:
  // A connection that has said Join, which nobody has checked yet.
  struct Arrival {
    std::unique_ptr<RankChannel> channel;
    pid_t pid = 0;  // 0: of another host, or not known.
    worker::v1::Join join;
    // For the welcome: that this leader knows the secret. Empty without one.
    std::string leaders_proof;
  };

  // A connection is given `patience` to say Join, with all proofs. Without a `secret` none is asked
  // for.
  RankReception(std::unique_ptr<RankListener> listener, absl::Duration patience,
                std::optional<GroupSecret> secret = std::nullopt);

  // Appends the descriptors, or -1 in their place, that Receive is to be called for when one of
  // them is readable.
  void AppendFds(std::vector<int>* fds) const;
  // When Receive is to be called at the latest, a time of MonotonicClock().
  absl::Time next_deadline() const;

  // Accepts connections, takes in what has come on them, and returns those that have said Join.
  std::vector<Arrival> Receive();

 private:
  struct Guest {
    std::unique_ptr<RankChannel> channel;
    pid_t pid = 0;
    absl::Time deadline;
    std::string nonce;  // That it was asked to prove the secret for; empty until then.
  };

  void Accept();
  // Whether `guest` has said Join. An error says why it is turned away.
  absl::StatusOr<bool> Hear(Guest& guest, worker::v1::Join* join) const;
  // Answers one that does not know the secret, which otherwise would try again.
  static void TellWhy(Guest& guest, const absl::Status& why);
  // Asks it to prove the secret, once that can be sent.
  absl::Status Challenge(Guest& guest) const;

  const std::unique_ptr<RankListener> listener_;
  const absl::Duration patience_;
  const std::optional<GroupSecret> secret_;
  // Oldest first.
  std::list<Guest> guests_;
  // When the system could not accept, the listener is left alone until this time.
  absl::Time accept_again_ = absl::InfinitePast();
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_GROUP_RANK_RECEPTION_H_
