#include "model/generation_defaults.h"

#include <string>

#include "gtest/gtest.h"
#include "model/testing/gguf_writer.h"

namespace phalanx {
namespace {

GenerationDefaults Read(const GgufWriter& writer) {
  const auto file = GgufFile::Open(writer.WriteToTemp("defaults.gguf"));
  EXPECT_TRUE(file.ok()) << file.status();
  return file.ok() ? ReadGenerationDefaults(**file) : GenerationDefaults{.top_k = -1};
}

TEST(GenerationDefaultsTest, FileWithoutAdviceMeansGreedy) {
  const GenerationDefaults defaults = Read(GgufWriter());
  EXPECT_EQ(defaults.temperature, 0.0f);
  EXPECT_EQ(defaults.top_k, 0);
  EXPECT_EQ(defaults.top_p, 1.0f);
}

TEST(GenerationDefaultsTest, AdviceOfTheFileIsTaken) {
  GgufWriter writer;
  writer.AddF32("general.sampling.temp", 0.75f);
  writer.AddI32("general.sampling.top_k", 40);
  writer.AddF32("general.sampling.top_p", 0.5f);
  const GenerationDefaults defaults = Read(writer);
  EXPECT_EQ(defaults.temperature, 0.75f);
  EXPECT_EQ(defaults.top_k, 40);
  EXPECT_EQ(defaults.top_p, 0.5f);
}

TEST(GenerationDefaultsTest, AdviceOutOfRangeIsPassedOver) {
  GgufWriter writer;
  writer.AddF32("general.sampling.temp", -1.0f);
  writer.AddI32("general.sampling.top_k", -2);
  writer.AddF32("general.sampling.top_p", 0.0f);
  const GenerationDefaults defaults = Read(writer);
  EXPECT_EQ(defaults.temperature, 0.0f);
  EXPECT_EQ(defaults.top_k, 0);
  EXPECT_EQ(defaults.top_p, 1.0f);
}

}  // namespace
}  // namespace phalanx
