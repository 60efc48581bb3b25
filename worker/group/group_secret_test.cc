#include "worker/group/group_secret.h"

#include <cstdlib>
#include <fstream>
#include <string>

#include "gtest/gtest.h"

namespace phalanx {
namespace {

std::string FileWith(const std::string& text) {
  const std::string path = std::string(getenv("TEST_TMPDIR")) + "/secret";
  std::ofstream(path, std::ios::trunc) << text;
  return path;
}

worker::v1::Join JoinOf(int rank) {
  worker::v1::Join join;
  join.set_rank(rank);
  join.set_world(4);
  return join;
}

TEST(GroupSecretTest, AProofIsGoodForOneNonceOneRankAndOneSecret) {
  const GroupSecret secret("0123456789abcdef");
  worker::v1::Join join = JoinOf(2);
  secret.Prove("leader's nonce", &join);
  EXPECT_TRUE(secret.Proves("leader's nonce", join));
  EXPECT_FALSE(secret.Proves("another nonce", join));
  EXPECT_FALSE(secret.Proves("", join));
  EXPECT_FALSE(GroupSecret("fedcba9876543210").Proves("leader's nonce", join));
  worker::v1::Join moved = join;
  moved.set_rank(1);
  EXPECT_FALSE(secret.Proves("leader's nonce", moved));
  worker::v1::Join without = join;
  without.clear_proof();
  EXPECT_FALSE(secret.Proves("leader's nonce", without));
}

TEST(GroupSecretTest, TheLeadersProofIsNotTheRanksSentBack) {
  const GroupSecret secret("0123456789abcdef");
  worker::v1::Join join = JoinOf(2);
  secret.Prove("nonce", &join);
  EXPECT_FALSE(SameProof(secret.LeadersProof("nonce", join), join.proof()));
  // And it is for this rank's own nonce.
  worker::v1::Join again = JoinOf(2);
  secret.Prove("nonce", &again);
  EXPECT_FALSE(SameProof(secret.LeadersProof("nonce", join), secret.LeadersProof("nonce", again)));
}

TEST(GroupSecretTest, NoncesAreNewEachTime) { EXPECT_NE(NewNonce(), NewNonce()); }

TEST(GroupSecretTest, ReadsAFileWithoutTheSpaceAtItsEnd) {
  const auto read = GroupSecret::Read(FileWith("0123456789abcdef\n\n"));
  ASSERT_TRUE(read.ok()) << read.status();
  worker::v1::Join join = JoinOf(1);
  read->Prove("nonce", &join);
  EXPECT_TRUE(GroupSecret("0123456789abcdef").Proves("nonce", join));
}

TEST(GroupSecretTest, AFileThatIsMissingOrTooShortIsRefusedByName) {
  EXPECT_EQ(GroupSecret::Read("/nowhere/secret").status().message(),
            "cannot read the secret in /nowhere/secret");
  const std::string path = FileWith("0123456789abcde\n");
  const absl::Status status = GroupSecret::Read(path).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(status.message().find(path), absl::string_view::npos);
}

}  // namespace
}  // namespace phalanx
