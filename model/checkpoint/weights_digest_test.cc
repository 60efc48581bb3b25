#include "model/checkpoint/weights_digest.h"

#include <map>
#include <memory>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/checkpoint/checkpoint.h"
#include "model/testing/gguf_writer.h"
#include "model/testing/hf_folder.h"
#include "model/testing/tiny_hf_model.h"
#include "model/testing/tiny_model.h"

namespace phalanx {
namespace {

struct Prints {
  std::string fingerprint;
  std::string digest;
};

Prints PrintsOf(const std::string& path) {
  const auto checkpoint = Checkpoint::Open(path);
  EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
  if (!checkpoint.ok()) return {};
  const auto digest = WeightsDigest((*checkpoint)->weight_data());
  EXPECT_TRUE(digest.ok()) << digest.status();
  return {(*checkpoint)->fingerprint(), digest.value_or("")};
}

TEST(WeightsDigestTest, OneBitOfTheDataIsSeenWhereTheFingerprintSeesNothing) {
  const std::string file = TinyModel({}).Finish();
  const Prints prints = PrintsOf(WriteTempFile("base.gguf", file));
  EXPECT_THAT(prints.digest, testing::MatchesRegex("[0-9a-f]{32}"));
  EXPECT_EQ(PrintsOf(WriteTempFile("same.gguf", file)).digest, prints.digest);
  for (const size_t from_end : {1, 1000, 4000}) {
    std::string changed = file;
    changed[changed.size() - from_end] ^= 1;
    const Prints others = PrintsOf(WriteTempFile("changed.gguf", changed));
    EXPECT_EQ(others.fingerprint, prints.fingerprint);
    EXPECT_NE(others.digest, prints.digest) << from_end;
  }
}

TEST(WeightsDigestTest, MetadataIsLeftToTheFingerprint) {
  const Prints base = PrintsOf(WriteTinyModel("plain.gguf"));
  const Prints theta = PrintsOf(WriteTinyModel("theta.gguf", {.rope_theta = 5000}));
  EXPECT_NE(theta.fingerprint, base.fingerprint);
  EXPECT_EQ(theta.digest, base.digest);
}

TEST(WeightsDigestTest, CoversEveryFileOfAFolder) {
  for (const char* name :
       {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"}) {
    std::map<std::string, std::string> files = TinyHfModel({.num_files = 2});
    ASSERT_TRUE(files.contains(name));
    const Prints base = PrintsOf(WriteTempFolder("whole", files));
    files[name].back() ^= 1;
    const Prints changed = PrintsOf(WriteTempFolder("changed", files));
    EXPECT_EQ(changed.fingerprint, base.fingerprint);
    EXPECT_NE(changed.digest, base.digest) << name;
  }
}

TEST(WeightsDigestTest, CanBeInterrupted) {
  const auto checkpoint = Checkpoint::Open(WriteTinyModel("interrupted.gguf"));
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  const auto digest = WeightsDigest((*checkpoint)->weight_data(), [] { return true; });
  EXPECT_EQ(digest.status().code(), absl::StatusCode::kCancelled);
}

}  // namespace
}  // namespace phalanx
