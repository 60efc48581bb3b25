#include "model/checkpoint/fingerprint.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/checkpoint/checkpoint.h"
#include "model/testing/tiny_model.h"

namespace phalanx {
namespace {

std::string FingerprintOf(const std::string& path) {
  const auto checkpoint = Checkpoint::Open(path);
  EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
  return checkpoint.ok() ? (*checkpoint)->fingerprint() : "";
}

TEST(FingerprintTest, SameContentUnderAnotherNameIsTheSameModel) {
  const std::string fingerprint = FingerprintOf(WriteTinyModel("one.gguf"));
  EXPECT_THAT(fingerprint, testing::MatchesRegex("[0-9a-f]{16}"));
  EXPECT_EQ(fingerprint, FingerprintOf(WriteTinyModel("two.gguf")));
}

TEST(FingerprintTest, OtherMetadataTensorsOrSizeAreAnotherModel) {
  const std::string fingerprint = FingerprintOf(WriteTinyModel("base.gguf"));
  EXPECT_NE(fingerprint, FingerprintOf(WriteTinyModel("theta.gguf", {.rope_theta = 5000})));
  EXPECT_NE(fingerprint,
            FingerprintOf(WriteTinyModel("type.gguf", {.matrix_type = TensorType::kQ8_0})));
  const std::string longer = WriteTempFile("longer.gguf", TinyModel({}).Finish() + "more");
  EXPECT_NE(fingerprint, FingerprintOf(longer));
}

}  // namespace
}  // namespace phalanx
