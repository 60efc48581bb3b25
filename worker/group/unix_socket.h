// Unix stream sockets between processes of one user. An address is the path of a file, or "@name",
// a name in Linux's abstract namespace. A name leaves nothing behind, however its owner ends, but
// is not protected by file permissions, so both ends check which user the other belongs to. Beside
// a path lies PATH.lock, which is locked while somebody listens. So files that a killed listener
// left behind can be told from those of a living one, and are replaced.
#ifndef PHALANX_WORKER_GROUP_UNIX_SOCKET_H_
#define PHALANX_WORKER_GROUP_UNIX_SOCKET_H_

#include <sys/types.h>

#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/unique_fd.h"

namespace phalanx {

// An abstract address with 128 random bits.
std::string UnusedAbstractAddress();

class UnixListener {
 public:
  // INVALID_ARGUMENT if the address is empty or too long; UNAVAILABLE if somebody listens there, if
  // the path is a file of another kind, or if the socket cannot be made.
  static absl::StatusOr<UnixListener> Create(const std::string& address);
  UnixListener(UnixListener&&) = default;
  // Removes the files, if the address was a path.
  ~UnixListener();

  // Readable when a connection waits.
  int fd() const { return socket_.get(); }
  // Blocks for a connection. PERMISSION_DENIED, naming the process, if it belongs to another user:
  // then it is closed. UNAVAILABLE if the connection is gone again.
  absl::StatusOr<UniqueFd> Accept() const;

 private:
  UnixListener(UniqueFd socket, std::string path, UniqueFd lock)
      : socket_(std::move(socket)), path_(std::move(path)), lock_(std::move(lock)) {}

  UniqueFd socket_;
  std::string path_;  // Empty: no file.
  UniqueFd lock_;     // None if there is no file.
};

// Connects, trying until somebody listens there. UNAVAILABLE after `timeout`, CANCELLED once
// `interrupt_fd` is readable (-1: never), PERMISSION_DENIED if the listener belongs to another
// user.
absl::StatusOr<UniqueFd> ConnectUnix(const std::string& address, absl::Duration timeout,
                                     int interrupt_fd = -1);

// The process at the other end of a connection; 0 if this process cannot see it.
pid_t PeerPid(const UniqueFd& socket);

}  // namespace phalanx

#endif  // PHALANX_WORKER_GROUP_UNIX_SOCKET_H_
