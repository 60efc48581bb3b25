// What this process proves itself with in TLS, and whom it believes.
#ifndef PHALANX_WORKER_NET_TLS_CREDENTIALS_H_
#define PHALANX_WORKER_NET_TLS_CREDENTIALS_H_

#include <openssl/ssl.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "base/mutex.h"

namespace phalanx {

// Thread-safe. Looks at its files when a handshake begins and loads them again if they have
// changed, so that a certificate can be replaced while the process runs. Files that do not fit (a
// key of another certificate, one that is unreadable, expired or not of the authorities) are told
// once in the log, and the last good ones stay in use. Connections that exist go on as they are.
class TlsCredentials {
 public:
  // Paths of PEM files.
  struct Files {
    // This process's certificate, and those between it and an authority, if any. It must be good
    // for both ends of a connection, if it says what it is good for.
    std::string certificate;
    std::string key;  // Not encrypted.
    // Whose certificates are believed. Whoever has one of them can connect: so not those of
    // everybody else's services too.
    std::string authorities;
  };

  // INVALID_ARGUMENT, naming the file and the reason, if they cannot be used.
  static absl::StatusOr<std::shared_ptr<TlsCredentials>> Create(const Files& files);
  ~TlsCredentials();
  TlsCredentials(const TlsCredentials&) = delete;
  TlsCredentials& operator=(const TlsCredentials&) = delete;

  // For one handshake; the caller frees it. Null if there is no memory.
  SSL* NewSession();

 private:
  struct Contents;

  explicit TlsCredentials(Files files);
  void ReloadIfChanged() EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Files files_;
  Mutex mutex_;
  // What the files held when they were last looked at, good or not.
  std::unique_ptr<Contents> seen_ GUARDED_BY(mutex_);
  SSL_CTX* context_ GUARDED_BY(mutex_) = nullptr;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_NET_TLS_CREDENTIALS_H_
