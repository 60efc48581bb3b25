#include "worker/net/tls_context.h"

#include <openssl/bio.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "worker/net/openssl_error.h"

namespace phalanx {
namespace {

template <auto kFree>
struct Free {
  template <typename T>
  void operator()(T* pointer) const {
    kFree(pointer);
  }
};
using Bio = std::unique_ptr<BIO, Free<BIO_free_all>>;
using Certificate = std::unique_ptr<X509, Free<X509_free>>;
using Key = std::unique_ptr<EVP_PKEY, Free<EVP_PKEY_free>>;
using Verification = std::unique_ptr<X509_STORE_CTX, Free<X509_STORE_CTX_free>>;

absl::Status Unusable(const PemFile& file, absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat("cannot use ", file.path, ": ", why));
}

Bio Open(const PemFile& file) {
  return Bio(BIO_new_mem_buf(file.text.data(), static_cast<int>(file.text.size())));
}

// All certificates of a file.
absl::StatusOr<std::vector<Certificate>> ReadCertificates(const PemFile& file) {
  const Bio bio = Open(file);
  std::vector<Certificate> certificates;
  while (X509* const next = PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr)) {
    certificates.emplace_back(next);
  }
  // Reading ends with this error when there is no further one.
  const bool at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
  const std::string error = TakeOpensslError();
  if (!at_end) return Unusable(file, error);
  if (certificates.empty()) return Unusable(file, "there is no certificate in it");
  return certificates;
}

// Never asks for a password at the terminal.
int NoPassword(char* /*buffer*/, int /*size*/, int /*writing*/, void* /*context*/) { return -1; }

absl::StatusOr<Key> ReadKey(const PemFile& file) {
  const Bio bio = Open(file);
  Key key(PEM_read_bio_PrivateKey(bio.get(), nullptr, NoPassword, nullptr));
  if (key == nullptr) {
    return Unusable(file, absl::StrCat("there is no readable private key in it (",
                                       TakeOpensslError(), "); it must not be encrypted"));
  }
  return key;
}

// Whether an end of the kind `purpose` (X509_PURPOSE_...) with our authorities would be believed.
absl::Status CheckBelieved(SSL_CTX* context, X509* certificate, STACK_OF(X509) * chain,
                           int purpose) {
  const Verification verification(X509_STORE_CTX_new());
  if (verification == nullptr ||
      X509_STORE_CTX_init(verification.get(), SSL_CTX_get_cert_store(context), certificate,
                          chain) != 1) {
    return absl::InternalError(TakeOpensslError());
  }
  X509_STORE_CTX_set_purpose(verification.get(), purpose);
  if (X509_verify_cert(verification.get()) == 1) return absl::OkStatus();
  ERR_clear_error();
  return absl::InvalidArgumentError(
      X509_verify_cert_error_string(X509_STORE_CTX_get_error(verification.get())));
}

void Configure(SSL_CTX* context) {
  SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
  SSL_CTX_set_max_proto_version(context, TLS1_3_VERSION);
  // AES of 128 bits first: the fastest where the processor has instructions for it.
  SSL_CTX_set_ciphersuites(context,
                           "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:"
                           "TLS_CHACHA20_POLY1305_SHA256");
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  // No handshake is ever cut short by an earlier one: each proves the certificate anew.
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(context, 0);
  SSL_CTX_set_options(context, SSL_OP_NO_TICKET);
  SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
}

}  // namespace

absl::StatusOr<TlsContext> MakeTlsContext(const PemFile& certificate, const PemFile& key,
                                          const PemFile& authorities) {
  ERR_clear_error();
  ASSIGN_OR_RETURN(const std::vector<Certificate> chain, ReadCertificates(certificate));
  ASSIGN_OR_RETURN(const Key private_key, ReadKey(key));
  ASSIGN_OR_RETURN(const std::vector<Certificate> roots, ReadCertificates(authorities));
  TlsContext context(SSL_CTX_new(TLS_method()));
  if (context == nullptr) return absl::InternalError(TakeOpensslError());
  Configure(context.get());
  for (const Certificate& root : roots) {
    X509_STORE_add_cert(SSL_CTX_get_cert_store(context.get()), root.get());
  }
  if (SSL_CTX_use_certificate(context.get(), chain.front().get()) != 1) {
    return Unusable(certificate, TakeOpensslError());
  }
  for (size_t i = 1; i < chain.size(); ++i) SSL_CTX_add1_chain_cert(context.get(), chain[i].get());
  if (SSL_CTX_use_PrivateKey(context.get(), private_key.get()) != 1) {
    ERR_clear_error();
    return Unusable(key, absl::StrCat("it is not the key of ", certificate.path));
  }
  STACK_OF(X509)* between = nullptr;
  SSL_CTX_get0_chain_certs(context.get(), &between);
  for (const int purpose : {X509_PURPOSE_SSL_SERVER, X509_PURPOSE_SSL_CLIENT}) {
    const absl::Status believed =
        CheckBelieved(context.get(), chain.front().get(), between, purpose);
    if (believed.ok()) continue;
    return Unusable(certificate, absl::StrCat("with the authorities of ", authorities.path,
                                              " nobody would believe it: ", believed.message()));
  }
  ERR_clear_error();
  return context;
}

}  // namespace phalanx
