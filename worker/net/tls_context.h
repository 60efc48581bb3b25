// OpenSSL's settings for mutual TLS, from the contents of three PEM files.
#ifndef PHALANX_WORKER_NET_TLS_CONTEXT_H_
#define PHALANX_WORKER_NET_TLS_CONTEXT_H_

#include <openssl/ssl.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace phalanx {

struct TlsContextDeleter {
  void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
};
using TlsContext = std::unique_ptr<SSL_CTX, TlsContextDeleter>;

// A file, for messages, and what is in it.
struct PemFile {
  std::string path;
  std::string text;
};

// Settings for TLS 1.3 in which both ends prove a certificate of `authorities`. INVALID_ARGUMENT,
// naming the file and the reason, if one of them is no PEM, the key is not the certificate's, or
// an end with the same authorities would not believe the certificate: it is expired, not valid
// yet, of another authority, or only for one end of a connection.
absl::StatusOr<TlsContext> MakeTlsContext(const PemFile& certificate, const PemFile& key,
                                          const PemFile& authorities);

}  // namespace phalanx

#endif  // PHALANX_WORKER_NET_TLS_CONTEXT_H_
