#include "worker/group/unix_socket.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <random>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "base/clock.h"
#include "base/errno_text.h"
#include "base/log.h"
#include "base/status.h"
#include "worker/group/poll_readable.h"

namespace phalanx {
namespace {

constexpr absl::Duration kRetryInterval = absl::Milliseconds(20);

bool IsAbstract(absl::string_view address) { return !address.empty() && address.front() == '@'; }

struct SocketAddress {
  sockaddr_un address{};
  socklen_t length = 0;

  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&address); }
};

absl::StatusOr<SocketAddress> Parse(const std::string& text) {
  SocketAddress parsed;
  sockaddr_un& address = parsed.address;
  address.sun_family = AF_UNIX;
  if (text.empty() || text.size() >= sizeof(address.sun_path)) {
    return absl::InvalidArgumentError(absl::StrCat("the socket address \"", text,
                                                   "\" must have 1 to ",
                                                   sizeof(address.sun_path) - 1, " bytes"));
  }
  text.copy(address.sun_path, text.size());
  // An abstract name begins with a zero byte, and only the length says where it ends. A path ends
  // with a zero byte, which the length includes.
  if (IsAbstract(text)) address.sun_path[0] = '\0';
  parsed.length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + text.size() +
                                         (IsAbstract(text) ? 0 : 1));
  return parsed;
}

UniqueFd NewSocket() { return UniqueFd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)); }

ucred PeerOf(const UniqueFd& socket) {
  // What the result is if the system does not say: no process, and a user that nobody is.
  ucred peer{.pid = 0, .uid = static_cast<uid_t>(-1), .gid = static_cast<gid_t>(-1)};
  socklen_t size = sizeof(peer);
  getsockopt(socket.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size);
  return peer;
}

absl::Status CheckSameUser(const UniqueFd& socket) {
  const ucred peer = PeerOf(socket);
  if (peer.uid == geteuid()) return absl::OkStatus();
  return absl::PermissionDeniedError(absl::StrCat("process ", peer.pid, " belongs to user ",
                                                  peer.uid, ", this one to ", geteuid()));
}

std::string LockPath(const std::string& path) { return path + ".lock"; }

// Whether `fd` is still the file at `path`. TakeLock opens the file and then locks it; in between,
// the listener that held the lock may have ended and removed the file. Such a lock keeps nobody
// out.
bool IsFileAt(const std::string& path, int fd) {
  struct stat ours {};
  struct stat there {};
  return fstat(fd, &ours) == 0 && stat(path.c_str(), &there) == 0 && ours.st_dev == there.st_dev &&
         ours.st_ino == there.st_ino;
}

// Takes the lock that the listener of `path` holds. The system frees it however the process ends.
absl::StatusOr<UniqueFd> TakeLock(const std::string& path) {
  const std::string lock_path = LockPath(path);
  while (true) {
    UniqueFd lock(open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (lock.get() < 0) {
      return absl::UnavailableError(
          absl::StrCat("cannot make ", lock_path, ": ", ErrnoText(errno)));
    }
    if (flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
      return absl::UnavailableError(absl::StrCat("another process listens on ", path));
    }
    if (IsFileAt(lock_path, lock.get())) return lock;
  }
}

// Removes a socket that nobody listens on. What else may be at `path` is left for bind to refuse.
void RemoveStaleSocket(const std::string& path, const SocketAddress& address) {
  struct stat info {};
  if (lstat(path.c_str(), &info) != 0 || !S_ISSOCK(info.st_mode)) return;
  // The caller holds the lock, so a listener here would be one of another program. Non-blocking,
  // because such a listener may have its queue full.
  const UniqueFd probe(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (connect(probe.get(), address.get(), address.length) == 0 || errno != ECONNREFUSED) return;
  if (unlink(path.c_str()) == 0) LOG(INFO) << "removed " << path << ", which nobody listens on";
}

}  // namespace

std::string UnusedAbstractAddress() {
  std::random_device random;
  return absl::StrFormat("@phalanx-%08x%08x%08x%08x", random(), random(), random(), random());
}

absl::StatusOr<UnixListener> UnixListener::Create(const std::string& address) {
  ASSIGN_OR_RETURN(const SocketAddress parsed, Parse(address));
  const bool is_path = !IsAbstract(address);
  UniqueFd lock;
  if (is_path) {
    ASSIGN_OR_RETURN(lock, TakeLock(address));
    RemoveStaleSocket(address, parsed);
  }
  UniqueFd socket = NewSocket();
  if (bind(socket.get(), parsed.get(), parsed.length) != 0) {
    // There is no UnixListener yet whose destructor would remove the file of the lock.
    const int error = errno;
    if (is_path) unlink(LockPath(address).c_str());
    return absl::UnavailableError(absl::StrCat("cannot bind ", address, ": ", ErrnoText(error)));
  }
  UnixListener listener(std::move(socket), is_path ? address : "", std::move(lock));
  if (listen(listener.fd(), SOMAXCONN) != 0) {
    return absl::UnavailableError(
        absl::StrCat("cannot listen on ", address, ": ", ErrnoText(errno)));
  }
  return listener;
}

UnixListener::~UnixListener() {
  if (socket_.get() < 0 || path_.empty()) return;
  // The lock's file goes last: while it is there nobody else can have made a socket at this path.
  unlink(path_.c_str());
  unlink(LockPath(path_).c_str());
}

absl::StatusOr<UniqueFd> UnixListener::Accept() const {
  UniqueFd socket(accept4(fd(), nullptr, nullptr, SOCK_CLOEXEC));
  if (socket.get() < 0) {
    return absl::UnavailableError(absl::StrCat("cannot accept a rank: ", ErrnoText(errno)));
  }
  RETURN_IF_ERROR(CheckSameUser(socket));
  return socket;
}

absl::StatusOr<UniqueFd> ConnectUnix(const std::string& address, absl::Duration timeout,
                                     int interrupt_fd) {
  ASSIGN_OR_RETURN(const SocketAddress parsed, Parse(address));
  const absl::Time deadline = MonotonicClock()->Now() + timeout;
  // Nothing tells when somebody begins to listen, so it is tried again and again, with a new socket
  // each time: what a socket can do after a failed connect is not defined.
  while (true) {
    UniqueFd socket = NewSocket();
    if (connect(socket.get(), parsed.get(), parsed.length) == 0) {
      RETURN_IF_ERROR(CheckSameUser(socket));
      return socket;
    }
    const int error = errno;
    if (MonotonicClock()->Now() >= deadline) {
      return absl::UnavailableError(
          absl::StrCat("no leader answers on ", address, ": ", ErrnoText(error)));
    }
    if (PollReadable({interrupt_fd}, MonotonicClock()->Now() + kRetryInterval).ok()) {
      return absl::CancelledError("interrupted while waiting for the leader");
    }
  }
}

pid_t PeerPid(const UniqueFd& socket) { return PeerOf(socket).pid; }

}  // namespace phalanx
