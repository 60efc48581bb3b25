#include "worker/net/testing/certificates.h"

#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <atomic>
#include <cstdlib>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "base/log.h"

namespace phalanx::testing {
namespace {

template <typename Object, typename Write>
std::string Pem(Object* object, Write write) {
  BIO* const bio = BIO_new(BIO_s_mem());
  CHECK(write(bio, object) == 1);
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  std::string text(data, static_cast<size_t>(size));
  BIO_free(bio);
  return text;
}

std::string CertificatePem(X509* certificate) { return Pem(certificate, PEM_write_bio_X509); }

void AddExtension(X509* certificate, X509* issuer, int nid, const char* value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* const extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value);
  CHECK(extension != nullptr);
  X509_add_ext(certificate, extension, -1);
  X509_EXTENSION_free(extension);
}

}  // namespace

void WriteFile(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << text;
}

Authority::Authority(const std::string& name)
    : key_(NewKey()),
      certificate_(NewCertificate(name, key_.get(), nullptr, key_.get(), absl::Hours(24))) {}

Authority::Key Authority::NewKey() {
  Key key(EVP_EC_gen("P-256"));
  CHECK(key != nullptr);
  return key;
}

Authority::Certificate Authority::NewCertificate(const std::string& name, EVP_PKEY* key,
                                                 X509* issuer, EVP_PKEY* issuer_key,
                                                 absl::Duration expiry) {
  Certificate certificate(X509_new());
  X509* const raw = certificate.get();
  const bool is_authority = issuer == nullptr;
  if (is_authority) issuer = raw;
  X509_set_version(raw, 2);
  static std::atomic<long> serial = 0;
  ASN1_INTEGER_set(X509_get_serialNumber(raw), ++serial);
  const auto seconds = static_cast<long>(absl::ToInt64Seconds(expiry));
  X509_gmtime_adj(X509_getm_notBefore(raw), seconds - 25 * 3600);
  X509_gmtime_adj(X509_getm_notAfter(raw), seconds);
  X509_set_pubkey(raw, key);
  X509_NAME_add_entry_by_txt(X509_get_subject_name(raw), "CN", MBSTRING_UTF8,
                             reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
  X509_set_issuer_name(raw, X509_get_subject_name(issuer));
  AddExtension(raw, issuer, NID_basic_constraints,
               is_authority ? "critical,CA:TRUE" : "critical,CA:FALSE");
  if (!is_authority) AddExtension(raw, issuer, NID_ext_key_usage, "serverAuth,clientAuth");
  CHECK(X509_sign(raw, issuer_key, EVP_sha256()) != 0);
  return certificate;
}

Authority::Pair Authority::Issue(const std::string& name, absl::Duration expiry) const {
  const Key key = NewKey();
  const Certificate certificate =
      NewCertificate(name, key.get(), certificate_.get(), key_.get(), expiry);
  return {CertificatePem(certificate.get()), Pem(key.get(), [](BIO* bio, EVP_PKEY* pkey) {
            return PEM_write_bio_PrivateKey(bio, pkey, nullptr, nullptr, 0, nullptr, nullptr);
          })};
}

std::string Authority::certificate() const { return CertificatePem(certificate_.get()); }

TlsCredentials::Files Authority::Write(const std::string& name, absl::Duration expiry) const {
  const char* const folder = std::getenv("TEST_TMPDIR");  // NOLINT(concurrency-mt-unsafe)
  CHECK(folder != nullptr);
  const std::string begin = absl::StrCat(folder, "/", name);
  TlsCredentials::Files files{begin + ".crt", begin + ".key", begin + "-ca.crt"};
  const Pair pair = Issue(name, expiry);
  WriteFile(files.certificate, pair.certificate);
  WriteFile(files.key, pair.key);
  WriteFile(files.authorities, certificate());
  return files;
}

std::shared_ptr<TlsCredentials> Authority::Credentials(const std::string& name) const {
  absl::StatusOr<std::shared_ptr<TlsCredentials>> credentials = TlsCredentials::Create(Write(name));
  CHECK(credentials.ok());
  return *credentials;
}

}  // namespace phalanx::testing
