#include "worker/net/tls_session.h"

#include <openssl/err.h>
#include <openssl/sslerr.h>
#include <openssl/x509_vfy.h>
#include <poll.h>

#include <cerrno>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/errno_text.h"
#include "base/status.h"
#include "worker/net/openssl_error.h"
#include "worker/net/socket_bio.h"

namespace phalanx {
namespace {

// Whether the peer has sent this error because it does not believe our certificate.
bool IsRefusal(int reason) {
  switch (reason) {
    case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
    case SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE:
    case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
    case SSL_R_TLSV1_ALERT_ACCESS_DENIED:
    case SSL_R_TLSV1_ALERT_DECRYPT_ERROR:
    case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
      return true;
    default:
      return false;
  }
}

absl::Status HandshakeFailed(SSL* ssl) {
  const int reason = ERR_GET_REASON(ERR_peek_error());
  const std::string error = TakeOpensslError();
  if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED) {
    return absl::PermissionDeniedError(
        absl::StrCat("its certificate is not believed: ",
                     X509_verify_cert_error_string(SSL_get_verify_result(ssl))));
  }
  if (reason == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE) {
    return absl::PermissionDeniedError("it has no certificate");
  }
  if (IsRefusal(reason)) {
    return absl::PermissionDeniedError(
        absl::StrCat("it does not believe our certificate: ", error));
  }
  return absl::PermissionDeniedError(absl::StrCat("it does not speak TLS 1.3: ", error));
}

}  // namespace

absl::StatusOr<std::unique_ptr<TlsSession>> TlsSession::Create(TlsCredentials& credentials, int fd,
                                                               End end) {
  std::unique_ptr<SSL, Deleter> ssl(credentials.NewSession());
  BIO* const bio = ssl == nullptr ? nullptr : NewSocketBio(fd);
  if (bio == nullptr) return absl::ResourceExhaustedError("no memory for a TLS connection");
  SSL_set_bio(ssl.get(), bio, bio);
  if (end == End::kClient) {
    SSL_set_connect_state(ssl.get());
  } else {
    SSL_set_accept_state(ssl.get());
  }
  return std::unique_ptr<TlsSession>(new TlsSession(ssl.release(), end));
}

absl::StatusOr<TlsSession::Progress> TlsSession::Outcome(int result, size_t bytes,
                                                         const char* what) {
  const int system_error = errno;
  if (result == 1) return Progress{.bytes = bytes};
  switch (SSL_get_error(ssl_.get(), result)) {
    case SSL_ERROR_WANT_READ:
      return Progress{.events = POLLIN};
    case SSL_ERROR_WANT_WRITE:
      return Progress{.events = POLLOUT};
    case SSL_ERROR_ZERO_RETURN:
      return absl::UnavailableError("the other end has closed the connection");
    case SSL_ERROR_SYSCALL:
      ERR_clear_error();
      return absl::UnavailableError(
          system_error == 0 ? "the other end has closed the connection"
                            : absl::StrCat("the connection broke: ", ErrnoText(system_error)));
    default:
      break;
  }
  if (ERR_GET_REASON(ERR_peek_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING) {
    ERR_clear_error();
    return absl::UnavailableError("the other end has closed the connection");
  }
  if (!ready_) return HandshakeFailed(ssl_.get());
  return absl::DataLossError(absl::StrCat(what, " by TLS failed: ", TakeOpensslError()));
}

absl::StatusOr<TlsSession::Progress> TlsSession::HandshakeLocked() {
  if (ready_) return Progress{.bytes = 1};
  ERR_clear_error();
  errno = 0;
  if (SSL_is_init_finished(ssl_.get()) == 0) {
    ASSIGN_OR_RETURN(const Progress progress, Outcome(SSL_do_handshake(ssl_.get()), 1, "joining"));
    if (progress.bytes == 0) return progress;
  }
  std::byte confirmation{1};
  size_t bytes = 0;
  errno = 0;
  const int result = end_ == End::kServer ? SSL_write_ex(ssl_.get(), &confirmation, 1, &bytes)
                                          : SSL_read_ex(ssl_.get(), &confirmation, 1, &bytes);
  ASSIGN_OR_RETURN(const Progress progress, Outcome(result, bytes, "joining"));
  ready_ = progress.bytes == 1;
  return progress;
}

absl::StatusOr<TlsSession::Progress> TlsSession::Handshake() {
  MutexLock lock(&mutex_);
  return HandshakeLocked();
}

absl::StatusOr<TlsSession::Progress> TlsSession::Read(absl::Span<std::byte> data) {
  MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(const Progress handshake, HandshakeLocked());
  if (handshake.bytes == 0) return handshake;
  ERR_clear_error();
  errno = 0;
  size_t bytes = 0;
  const int result = SSL_read_ex(ssl_.get(), data.data(), data.size(), &bytes);
  return Outcome(result, bytes, "reading");
}

absl::StatusOr<TlsSession::Progress> TlsSession::Write(absl::Span<const std::byte> data) {
  MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(const Progress handshake, HandshakeLocked());
  if (handshake.bytes == 0) return handshake;
  ERR_clear_error();
  errno = 0;
  size_t bytes = 0;
  const int result = SSL_write_ex(ssl_.get(), data.data(), data.size(), &bytes);
  return Outcome(result, bytes, "writing");
}

bool TlsSession::ready() const {
  MutexLock lock(&mutex_);
  return ready_;
}

bool TlsSession::has_buffered() const {
  MutexLock lock(&mutex_);
  return SSL_pending(ssl_.get()) > 0;
}

}  // namespace phalanx
