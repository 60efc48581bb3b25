#include "rpc/receive_hook.h"

#include <dlfcn.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <memory>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "base/mutex.h"

namespace phalanx {
namespace {

// A number that tells this socket from a later one with the same descriptor: the kernel gives no
// cookie twice.
uint64_t CookieOf(int socket) {
  uint64_t cookie = 0;
  socklen_t size = sizeof(cookie);
  if (getsockopt(socket, SOL_SOCKET, SO_COOKIE, &cookie, &size) != 0) return 0;
  return cookie;
}

class Filters {
 public:
  // Never destroyed, because threads of libraries may receive until the process ends.
  static Filters& Get() {
    static auto* const filters = new Filters();
    return *filters;
  }

  void Set(int socket, ReceiveFilter filter) {
    auto entry = std::make_shared<Entry>(Entry{CookieOf(socket), std::move(filter)});
    MutexLock lock(&mutex_);
    entries_[socket] = std::move(entry);
  }

  // The filter of a socket, null if it has none. The result keeps the filter alive, even if another
  // thread removes it meanwhile.
  std::shared_ptr<const ReceiveFilter> Find(int socket) {
    std::shared_ptr<Entry> entry;
    {
      MutexLock lock(&mutex_);
      const auto found = entries_.find(socket);
      if (found == entries_.end()) return nullptr;
      entry = found->second;
    }
    // Nothing tells when a socket is closed, so a filter may be left of an earlier one.
    if (entry->cookie == CookieOf(socket)) return {entry, &entry->filter};
    Remove(socket, &entry->filter);
    return nullptr;
  }

  // Removes `filter`, unless the socket has another one by now.
  void Remove(int socket, const ReceiveFilter* filter) {
    std::shared_ptr<Entry> removed;  // Destroyed without the lock.
    MutexLock lock(&mutex_);
    const auto found = entries_.find(socket);
    if (found == entries_.end() || &found->second->filter != filter) return;
    removed = std::move(found->second);
    entries_.erase(found);
  }

 private:
  struct Entry {
    uint64_t cookie;
    ReceiveFilter filter;
  };

  Mutex mutex_;
  absl::flat_hash_map<int, std::shared_ptr<Entry>> entries_ GUARDED_BY(mutex_);
};

bool FilterMessage(const ReceiveFilter& filter, const msghdr& message, size_t num_bytes) {
  for (size_t i = 0; i < message.msg_iovlen && num_bytes > 0; ++i) {
    const iovec& piece = message.msg_iov[i];
    const size_t filled = std::min(piece.iov_len, num_bytes);
    if (!filter({static_cast<char*>(piece.iov_base), filled})) return false;
    num_bytes -= filled;
  }
  return true;
}

}  // namespace

void SetReceiveFilter(int socket, ReceiveFilter filter) {
  Filters::Get().Set(socket, std::move(filter));
}

}  // namespace phalanx

// Takes the place of libc's recvmsg, for this program and the libraries that it has loaded.
extern "C" ssize_t recvmsg(int socket, msghdr* message, int flags) {
  using Function = ssize_t (*)(int, msghdr*, int);
  static const auto libc_recvmsg = reinterpret_cast<Function>(dlsym(RTLD_NEXT, "recvmsg"));
  const ssize_t received = libc_recvmsg(socket, message, flags);
  // What follows may change errno, which the caller wants to read.
  const int error = errno;
  // Bytes that were only looked at (MSG_PEEK) will be read again, and an error queue holds no bytes
  // of the connection. After EAGAIN or EINTR the connection goes on.
  if ((flags & (MSG_PEEK | MSG_ERRQUEUE)) != 0 ||
      (received < 0 && (error == EAGAIN || error == EINTR))) {
    return received;
  }
  phalanx::Filters& filters = phalanx::Filters::Get();
  const std::shared_ptr<const phalanx::ReceiveFilter> filter = filters.Find(socket);
  ssize_t result = received;
  if (filter != nullptr) {
    const bool goes_on =
        received > 0 && phalanx::FilterMessage(*filter, *message, static_cast<size_t>(received));
    if (!goes_on) filters.Remove(socket, filter.get());
    // 0 is how recvmsg says that the peer has closed.
    if (received > 0 && !goes_on) result = 0;
  }
  errno = error;
  return result;
}
