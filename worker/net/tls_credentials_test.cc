#include "worker/net/tls_credentials.h"

#include <unistd.h>

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "worker/net/testing/certificates.h"

namespace phalanx {
namespace {

using ::testing::HasSubstr;
using Files = TlsCredentials::Files;

// The common name of the certificate that a new handshake would prove.
std::string NameIn(TlsCredentials& credentials) {
  SSL* const session = credentials.NewSession();
  char name[64] = "";
  X509_NAME_get_text_by_NID(X509_get_subject_name(SSL_get_certificate(session)), NID_commonName,
                            name, sizeof(name));
  SSL_free(session);
  return name;
}

void ExpectRefused(const Files& files, const std::string& file, const std::string& why) {
  const absl::Status status = TlsCredentials::Create(files).status();
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(file));
  EXPECT_THAT(std::string(status.message()), HasSubstr(why));
}

class TlsCredentialsTest : public ::testing::Test {
 protected:
  // Puts another certificate, and its key, into `files`.
  void Replace(const Files& files, const std::string& name,
               absl::Duration expiry = absl::Hours(24)) const {
    const testing::Authority::Pair pair = authority_.Issue(name, expiry);
    testing::WriteFile(files.certificate, pair.certificate);
    testing::WriteFile(files.key, pair.key);
  }

  const testing::Authority authority_{"the group's"};
};

TEST_F(TlsCredentialsTest, LoadsAPair) {
  EXPECT_EQ(NameIn(*authority_.Credentials("first")), "first");
}

TEST_F(TlsCredentialsTest, NamesAFileThatIsMissing) {
  Files files = authority_.Write("missing");
  unlink(files.key.c_str());
  ExpectRefused(files, files.key, "No such file");
}

TEST_F(TlsCredentialsTest, NamesAFileThatIsNoCertificate) {
  Files files = authority_.Write("no_certificate");
  testing::WriteFile(files.authorities, "nothing of that kind\n");
  ExpectRefused(files, files.authorities, "no certificate");
}

TEST_F(TlsCredentialsTest, NamesACertificateThatIsDamaged) {
  Files files = authority_.Write("damaged");
  const std::string text = authority_.Issue("damaged").certificate;
  testing::WriteFile(files.certificate, text.substr(0, text.size() / 2));
  ExpectRefused(files, files.certificate, "");
}

TEST_F(TlsCredentialsTest, RefusesTheKeyOfAnotherCertificate) {
  Files files = authority_.Write("mismatch");
  testing::WriteFile(files.key, authority_.Issue("other").key);
  ExpectRefused(files, files.key, "not the key of");
}

TEST_F(TlsCredentialsTest, RefusesAnExpiredCertificate) {
  const Files files = authority_.Write("expired", -absl::Hours(1));
  ExpectRefused(files, files.certificate, "expired");
}

TEST_F(TlsCredentialsTest, RefusesACertificateThatIsNotValidYet) {
  const Files files = authority_.Write("future", absl::Hours(48));
  ExpectRefused(files, files.certificate, "not yet valid");
}

TEST_F(TlsCredentialsTest, RefusesACertificateOfAnotherAuthority) {
  Files files = authority_.Write("stray");
  testing::WriteFile(files.authorities, testing::Authority("another").certificate());
  ExpectRefused(files, files.certificate, "unable to get local issuer certificate");
}

TEST_F(TlsCredentialsTest, LoadsFilesThatHaveChanged) {
  const Files files = authority_.Write("first");
  const auto credentials = TlsCredentials::Create(files).value();
  Replace(files, "second");
  EXPECT_EQ(NameIn(*credentials), "second");
}

TEST_F(TlsCredentialsTest, KeepsTheLastGoodPairWhileFilesDoNotFit) {
  const Files files = authority_.Write("good");
  const auto credentials = TlsCredentials::Create(files).value();
  ::testing::internal::CaptureStderr();
  Replace(files, "expired", -absl::Hours(1));
  EXPECT_EQ(NameIn(*credentials), "good");
  EXPECT_EQ(NameIn(*credentials), "good");
  // Told once, not with each handshake.
  const std::string log = ::testing::internal::GetCapturedStderr();
  EXPECT_THAT(log, HasSubstr("certificate has expired"));
  EXPECT_EQ(log.find("do not fit"), log.rfind("do not fit"));

  testing::WriteFile(files.key, authority_.Issue("other").key);
  EXPECT_EQ(NameIn(*credentials), "good");
  unlink(files.key.c_str());
  EXPECT_EQ(NameIn(*credentials), "good");
  Replace(files, "next");
  EXPECT_EQ(NameIn(*credentials), "next");
}

}  // namespace
}  // namespace phalanx
