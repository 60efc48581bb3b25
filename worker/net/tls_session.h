// One TLS connection on a non-blocking socket.
#ifndef PHALANX_WORKER_NET_TLS_SESSION_H_
#define PHALANX_WORKER_NET_TLS_SESSION_H_

#include <openssl/ssl.h>

#include <cstddef>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "base/mutex.h"
#include "worker/net/tls_credentials.h"

namespace phalanx {

// Thread-safe; never blocks. An SSL object is not, which is why every call holds a mutex.
//
// In TLS 1.3 a client has finished its handshake before the server has looked at its certificate.
// So the server sends one byte once it has, and a client is not ready before that byte has come.
class TlsSession {
 public:
  enum class End { kClient, kServer };
  // What a call achieved: bytes, or else the events (POLLIN, POLLOUT) of the socket to wait for
  // before the next try.
  struct Progress {
    size_t bytes = 0;
    short events = 0;
  };

  // `fd` is lent. RESOURCE_EXHAUSTED if there is no memory.
  static absl::StatusOr<std::unique_ptr<TlsSession>> Create(TlsCredentials& credentials, int fd,
                                                            End end);
  TlsSession(const TlsSession&) = delete;
  TlsSession& operator=(const TlsSession&) = delete;

  // Carries the handshake on; `bytes` is 1 once it is done. PERMISSION_DENIED if one end does not
  // believe the other, or the other does not speak TLS 1.3; UNAVAILABLE if it is gone.
  absl::StatusOr<Progress> Handshake();
  // These carry the handshake on too. What was offered to a Write that achieved nothing must be
  // offered first in the next. UNAVAILABLE if the peer is gone, DATA_LOSS for bytes that are not
  // TLS or were changed on the way, and the errors of Handshake.
  absl::StatusOr<Progress> Read(absl::Span<std::byte> data);
  absl::StatusOr<Progress> Write(absl::Span<const std::byte> data);

  bool ready() const;
  // Whether Read has bytes for which the socket need not be readable.
  bool has_buffered() const;

 private:
  struct Deleter {
    void operator()(SSL* ssl) const { SSL_free(ssl); }
  };

  TlsSession(SSL* ssl, End end) : end_(end), ssl_(ssl) {}
  absl::StatusOr<Progress> HandshakeLocked() EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // What a call that returned `result` and moved `bytes` means.
  absl::StatusOr<Progress> Outcome(int result, size_t bytes, const char* what)
      EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const End end_;
  mutable Mutex mutex_;
  const std::unique_ptr<SSL, Deleter> ssl_ GUARDED_BY(mutex_);
  bool ready_ GUARDED_BY(mutex_) = false;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_NET_TLS_SESSION_H_
