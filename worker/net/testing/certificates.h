// Certificates for tests, made when they are needed.
#ifndef PHALANX_WORKER_NET_TESTING_CERTIFICATES_H_
#define PHALANX_WORKER_NET_TESTING_CERTIFICATES_H_

#include <openssl/evp.h>
#include <openssl/x509.h>

#include <memory>
#include <string>

#include "absl/time/time.h"
#include "worker/net/tls_credentials.h"

namespace phalanx::testing {

void WriteFile(const std::string& path, const std::string& text);

// A certificate authority of a test's own. Dies on failure.
class Authority {
 public:
  explicit Authority(const std::string& name);

  // A certificate and its key, as PEM.
  struct Pair {
    std::string certificate, key;
  };
  // Valid from an hour before `expiry` minus a day until `expiry`, relative to now.
  Pair Issue(const std::string& name, absl::Duration expiry = absl::Hours(24)) const;
  // The authority's own certificate, as PEM.
  std::string certificate() const;

  // Issues a pair and writes it and the authority into files of the test's folder that begin with
  // `name`.
  TlsCredentials::Files Write(const std::string& name,
                              absl::Duration expiry = absl::Hours(24)) const;
  // As Write, loaded.
  std::shared_ptr<TlsCredentials> Credentials(const std::string& name) const;

 private:
  struct Deleter {
    void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
    void operator()(X509* certificate) const { X509_free(certificate); }
  };
  using Key = std::unique_ptr<EVP_PKEY, Deleter>;
  using Certificate = std::unique_ptr<X509, Deleter>;

  static Key NewKey();
  static Certificate NewCertificate(const std::string& name, EVP_PKEY* key, X509* issuer,
                                    EVP_PKEY* issuer_key, absl::Duration expiry);

  const Key key_;
  const Certificate certificate_;
};

}  // namespace phalanx::testing

#endif  // PHALANX_WORKER_NET_TESTING_CERTIFICATES_H_
