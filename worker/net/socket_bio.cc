#include "worker/net/socket_bio.h"

#include <sys/socket.h>

#include <cerrno>
#include <cstdint>

namespace phalanx {
namespace {

// The descriptor is kept in the place where OpenSSL lets a BIO keep a pointer.
int FdOf(BIO* bio) { return static_cast<int>(reinterpret_cast<intptr_t>(BIO_get_data(bio))); }

bool IsTemporary(int error) { return error == EAGAIN || error == EWOULDBLOCK || error == EINTR; }

int Read(BIO* bio, char* data, size_t size, size_t* bytes) {
  BIO_clear_retry_flags(bio);
  errno = 0;
  const ssize_t result = recv(FdOf(bio), data, size, MSG_DONTWAIT);
  *bytes = result > 0 ? static_cast<size_t>(result) : 0;
  if (result < 0 && IsTemporary(errno)) BIO_set_retry_read(bio);
  // What BIO_CTRL_EOF is asked for: without it, the end of the stream would count as a failure
  // of the system with an errno of its own.
  if (result == 0) BIO_set_flags(bio, BIO_FLAGS_IN_EOF);
  return result > 0 ? 1 : 0;
}

int Write(BIO* bio, const char* data, size_t size, size_t* bytes) {
  BIO_clear_retry_flags(bio);
  errno = 0;
  const ssize_t result = send(FdOf(bio), data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
  *bytes = result > 0 ? static_cast<size_t>(result) : 0;
  if (result < 0 && IsTemporary(errno)) BIO_set_retry_write(bio);
  return result > 0 ? 1 : 0;
}

long Control(BIO* bio, int command, long /*number*/, void* /*pointer*/) {
  switch (command) {
    case BIO_CTRL_EOF:
      return BIO_test_flags(bio, BIO_FLAGS_IN_EOF) != 0 ? 1 : 0;
    case BIO_CTRL_FLUSH:
    case BIO_CTRL_DUP:
      return 1;
    default:
      return 0;
  }
}

BIO_METHOD* MakeMethod() {
  BIO_METHOD* const method = BIO_meth_new(BIO_TYPE_SOURCE_SINK | BIO_get_new_index(), "socket");
  if (method == nullptr) return nullptr;
  BIO_meth_set_read_ex(method, Read);
  BIO_meth_set_write_ex(method, Write);
  BIO_meth_set_ctrl(method, Control);
  return method;
}

}  // namespace

BIO* NewSocketBio(int fd) {
  // Never freed: sockets may use it until the process ends.
  static const BIO_METHOD* const method = MakeMethod();
  if (method == nullptr) return nullptr;
  BIO* const bio = BIO_new(method);
  if (bio == nullptr) return nullptr;
  BIO_set_data(bio, reinterpret_cast<void*>(static_cast<intptr_t>(fd)));
  BIO_set_init(bio, 1);
  return bio;
}

}  // namespace phalanx
