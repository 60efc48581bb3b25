#include "model/generation_defaults.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/json.h"
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

absl::StatusOr<GenerationDefaults> ReadConfig(const std::string& text) {
  const absl::StatusOr<JsonValue> json = ParseJson(text, "generation_config.json");
  if (!json.ok()) return json.status();
  return ReadGenerationConfig(*json, "generation_config.json");
}

TEST(GenerationConfigTest, SamplingIsAsTransformersTakesIt) {
  const auto full = ReadConfig(R"({"do_sample": true, "temperature": 0.8, "top_p": 0.95,
                                   "top_k": 20, "eos_token_id": [200020, 199999]})");
  ASSERT_TRUE(full.ok()) << full.status();
  EXPECT_EQ(full->temperature, 0.8f);
  EXPECT_EQ(full->top_p, 0.95f);
  EXPECT_EQ(full->top_k, 20);
  EXPECT_THAT(full->eos_token_ids, testing::ElementsAre(199999, 200020));
  EXPECT_THAT(full->ignored, testing::IsEmpty());

  const auto bare = ReadConfig(R"({"do_sample": true, "eos_token_id": 7})");
  ASSERT_TRUE(bare.ok()) << bare.status();
  EXPECT_EQ(bare->temperature, 1.0f);
  EXPECT_EQ(bare->top_k, 50);
  EXPECT_EQ(bare->top_p, 1.0f);
  EXPECT_THAT(bare->eos_token_ids, testing::ElementsAre(7));
}

TEST(GenerationConfigTest, WithoutDoSampleItIsGreedy) {
  for (const char* text : {"{}", R"({"temperature": 0.8, "top_k": 20})",
                           R"({"do_sample": false, "temperature": 0.8})"}) {
    const auto defaults = ReadConfig(text);
    ASSERT_TRUE(defaults.ok()) << defaults.status();
    EXPECT_EQ(defaults->temperature, 0.0f);
    EXPECT_EQ(defaults->top_k, 0);
    EXPECT_EQ(defaults->top_p, 1.0f);
  }
}

TEST(GenerationConfigTest, AdviceThatIsNotFollowedIsTold) {
  const auto defaults = ReadConfig(R"({"do_sample": true, "top_p": 1.5, "repetition_penalty": 1.1,
      "no_repeat_ngram_size": 0, "num_beams": 1, "max_new_tokens": 2048, "min_p": null,
      "early_stopping": false, "bos_token_id": 1, "transformers_version": "4.37.0"})");
  ASSERT_TRUE(defaults.ok()) << defaults.status();
  EXPECT_EQ(defaults->top_p, 1.0f);
  EXPECT_THAT(defaults->ignored,
              testing::ElementsAre("top_p: 1.5 is out of range", "repetition_penalty: 1.1",
                                   "max_new_tokens: 2048"));
}

TEST(GenerationConfigTest, ValuesOfAnotherTypeAreErrors) {
  for (const char* text :
       {R"({"do_sample": "yes"})", R"({"temperature": "hot"})", R"({"eos_token_id": "2"})", "[]"}) {
    EXPECT_EQ(ReadConfig(text).status().code(), absl::StatusCode::kDataLoss) << text;
  }
}

}  // namespace
}  // namespace phalanx
