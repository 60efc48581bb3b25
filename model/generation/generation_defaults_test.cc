#include "model/generation/generation_defaults.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/files/json.h"
#include "model/testing/gguf_writer.h"

namespace phalanx {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

UnfollowedDefault Unfollowed(const std::string& key, const std::string& value) {
  return {key, value};
}

GenerationDefaults Read(const GgufWriter& writer) {
  const auto file = GgufFile::Open(writer.WriteToTemp("defaults.gguf"));
  EXPECT_TRUE(file.ok()) << file.status();
  return file.ok() ? ReadGenerationDefaults(**file) : GenerationDefaults{.sampling = {.top_k = -1}};
}

TEST(GenerationDefaultsTest, FileWithoutAdviceMeansGreedy) {
  const GenerationDefaults defaults = Read(GgufWriter());
  EXPECT_EQ(defaults.sampling.temperature, 0.0f);
  EXPECT_EQ(defaults.sampling.top_k, 0);
  EXPECT_EQ(defaults.sampling.top_p, 1.0f);
}

TEST(GenerationDefaultsTest, AdviceOfTheFileIsTaken) {
  GgufWriter writer;
  writer.AddF32("general.sampling.temp", 0.75f);
  writer.AddI32("general.sampling.top_k", 40);
  writer.AddF32("general.sampling.top_p", 0.5f);
  const GenerationDefaults defaults = Read(writer);
  EXPECT_EQ(defaults.sampling.temperature, 0.75f);
  EXPECT_EQ(defaults.sampling.top_k, 40);
  EXPECT_EQ(defaults.sampling.top_p, 0.5f);
}

TEST(GenerationDefaultsTest, AdviceOutOfRangeOrOfAnotherTypeIsTold) {
  GgufWriter writer;
  writer.AddF32("general.sampling.temp", -1.0f);
  writer.AddI32("general.sampling.top_k", -2);
  writer.AddF32("general.sampling.top_p", 1.0000001f);
  const GenerationDefaults defaults = Read(writer);
  EXPECT_EQ(defaults.sampling.temperature, 0.0f);
  EXPECT_EQ(defaults.sampling.top_k, 0);
  EXPECT_EQ(defaults.sampling.top_p, 1.0f);
  EXPECT_THAT(defaults.unfollowed,
              UnorderedElementsAre(Unfollowed("general.sampling.temp", "-1"),
                                   Unfollowed("general.sampling.top_k", "-2"),
                                   Unfollowed("general.sampling.top_p", "1.0000001")));
  GgufWriter text;
  text.AddString("general.sampling.temp", "hot");
  EXPECT_THAT(Read(text).unfollowed,
              ElementsAre(Unfollowed("general.sampling.temp", "not a number")));
}

TEST(GenerationDefaultsTest, SamplersThatAreNotOfferedAreToldUnlessTheyAreOff) {
  GgufWriter off;
  off.AddF32("general.sampling.min_p", 0.0f);
  off.AddF32("general.sampling.xtc_probability", 0.0f);
  off.AddF32("general.sampling.xtc_threshold", 0.1f);
  off.AddF32("general.sampling.penalty_repeat", 1.0f);
  off.AddI32("general.sampling.penalty_last_n", 64);
  off.AddI32("general.sampling.mirostat", 0);
  off.AddF32("general.sampling.mirostat_tau", 5.0f);
  EXPECT_THAT(Read(off).unfollowed, IsEmpty());
  for (const char* name : {"xtc_probability", "mirostat", "new_one"}) {
    const std::string key = absl::StrCat("general.sampling.", name);
    GgufWriter on;
    on.AddF32(key, 0.25f);
    EXPECT_THAT(Read(on).unfollowed, ElementsAre(Unfollowed(key, "0.25"))) << key;
  }
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
  EXPECT_EQ(full->sampling.temperature, 0.8f);
  EXPECT_EQ(full->sampling.top_p, 0.95f);
  EXPECT_EQ(full->sampling.top_k, 20);
  EXPECT_THAT(full->eos_token_ids, ElementsAre(199999, 200020));
  EXPECT_THAT(full->unfollowed, IsEmpty());

  const auto bare = ReadConfig(R"({"do_sample": true, "eos_token_id": 7})");
  ASSERT_TRUE(bare.ok()) << bare.status();
  EXPECT_EQ(bare->sampling.temperature, 1.0f);
  EXPECT_EQ(bare->sampling.top_k, 50);
  EXPECT_EQ(bare->sampling.top_p, 1.0f);
  EXPECT_THAT(bare->eos_token_ids, ElementsAre(7));
}

// The advice on top_k and top_p is for callers who sample nevertheless.
TEST(GenerationConfigTest, WithoutDoSampleItIsGreedy) {
  for (const char* text :
       {"{}", R"({"temperature": 0.8})", R"({"do_sample": false, "temperature": 0.8})"}) {
    const auto defaults = ReadConfig(text);
    ASSERT_TRUE(defaults.ok()) << defaults.status();
    EXPECT_EQ(defaults->sampling.temperature, 0.0f);
    EXPECT_EQ(defaults->sampling.top_k, 0);
    EXPECT_EQ(defaults->sampling.top_p, 1.0f);
    EXPECT_THAT(defaults->unfollowed, IsEmpty());
  }
  const auto advised = ReadConfig(R"({"temperature": 0.8, "top_k": 20, "top_p": 0.9})");
  ASSERT_TRUE(advised.ok()) << advised.status();
  EXPECT_EQ(advised->sampling.temperature, 0.0f);
  EXPECT_EQ(advised->sampling.top_k, 20);
  EXPECT_EQ(advised->sampling.top_p, 0.9f);
}

TEST(GenerationConfigTest, LengthsAreTaken) {
  const auto defaults = ReadConfig(R"({"max_new_tokens": 2048, "max_length": 4096})");
  ASSERT_TRUE(defaults.ok()) << defaults.status();
  EXPECT_EQ(defaults->max_new_tokens, 2048);
  EXPECT_EQ(defaults->max_length, 4096);
  EXPECT_THAT(defaults->unfollowed, IsEmpty());
  // transformers' own default, in old files.
  EXPECT_EQ(ReadConfig(R"({"max_length": 20})")->max_length, 0);
  for (const char* value : {"0", "-1", "2.5", "1e10"}) {
    const auto bad = ReadConfig(absl::StrCat(R"({"max_new_tokens": )", value, "}"));
    ASSERT_TRUE(bad.ok()) << bad.status();
    EXPECT_EQ(bad->max_new_tokens, 0);
    EXPECT_THAT(bad->unfollowed, testing::SizeIs(1)) << value;
  }
}

// Every key that transformers 5.23 or others read and that makes tokens differ.
TEST(GenerationConfigTest, AdviceThatIsNotFollowedIsTold) {
  for (const char* member : {R"("bad_words_ids": [[1]])",
                             R"("begin_suppress_tokens": [1])",
                             R"("constraints": [1])",
                             R"("diversity_penalty": 0.5)",
                             R"("dola_layers": "high")",
                             R"("encoder_no_repeat_ngram_size": 2)",
                             R"("encoder_repetition_penalty": 1.2)",
                             R"("epsilon_cutoff": 0.1)",
                             R"("eta_cutoff": 0.1)",
                             R"("exponential_decay_length_penalty": [5, 1.1])",
                             R"("force_words_ids": [[1]])",
                             R"("forced_bos_token_id": 0)",
                             R"("forced_eos_token_id": 2)",
                             R"("guidance_scale": 1.5)",
                             R"("is_assistant": true)",
                             R"("max_time": 3.5)",
                             R"("min_length": 5)",
                             R"("min_new_tokens": 5)",
                             R"("no_repeat_ngram_size": 3)",
                             R"("num_beam_groups": 2)",
                             R"("num_beams": 4)",
                             R"("penalty_alpha": 0.6)",
                             R"("presence_penalty": 2.5)",
                             R"("repetition_penalty": 0)",
                             R"("sequence_bias": [[[1], 2.0]])",
                             R"("stop_strings": ["x"])",
                             R"("suppress_tokens": [1])",
                             R"("token_healing": true)",
                             R"("top_h": 0.4)",
                             R"("watermarking_config": {"bias": 2.5})",
                             R"("new_key": 1)",
                             R"("new_key": false)",
                             R"("min_p": 1.5)"}) {
    const auto defaults = ReadConfig(absl::StrCat("{", member, "}"));
    ASSERT_TRUE(defaults.ok()) << defaults.status();
    ASSERT_EQ(defaults->unfollowed.size(), 1u) << member;
    EXPECT_THAT(member, testing::HasSubstr(defaults->unfollowed[0].key));
  }
  const auto both = ReadConfig(R"({"do_sample": true, "top_p": 1.5, "no_repeat_ngram_size": 3})");
  ASSERT_TRUE(both.ok()) << both.status();
  EXPECT_EQ(both->sampling.top_p, 1.0f);
  EXPECT_THAT(both->unfollowed,
              ElementsAre(Unfollowed("top_p", "1.5"), Unfollowed("no_repeat_ngram_size", "3")));
}

TEST(GenerationConfigTest, NeutralAndHarmlessAdviceIsNot) {
  const auto defaults = ReadConfig(R"({"bos_token_id": 1, "pad_token_id": 2,
      "transformers_version": "4.37.0", "_from_model_config": true, "use_cache": true,
      "bad_words_ids": null, "suppress_tokens": [], "sequence_bias": {}, "early_stopping": true,
      "length_penalty": 2.0, "no_repeat_ngram_size": 0, "num_beams": 1, "num_return_sequences": 4,
      "repetition_penalty": 1.0, "typical_p": 1, "min_p": 0.0, "min_new_tokens": 0,
      "presence_penalty": 0, "token_healing": false, "renormalize_logits": true,
      "num_assistant_tokens": 5, "cache_implementation": "hybrid", "new_key": null})");
  ASSERT_TRUE(defaults.ok()) << defaults.status();
  EXPECT_THAT(defaults->unfollowed, IsEmpty());
}

TEST(GenerationConfigTest, OfAConfigOnlyTheKnownKeysAreRead) {
  const auto json = ParseJson(R"({"hidden_size": 64, "rope_theta": 1e4, "do_sample": true,
      "top_k": 7, "num_beams": 4, "min_p": 0.1, "use_cache": true, "max_length": 20})",
                              "config.json");
  ASSERT_TRUE(json.ok()) << json.status();
  const auto defaults = ReadGenerationKeysOfConfig(*json, "config.json");
  ASSERT_TRUE(defaults.ok()) << defaults.status();
  EXPECT_EQ(defaults->sampling.temperature, 1.0f);
  EXPECT_EQ(defaults->sampling.top_k, 7);
  EXPECT_EQ(defaults->sampling.min_p, 0.1f);
  EXPECT_EQ(defaults->max_length, 0);
  EXPECT_THAT(defaults->unfollowed, ElementsAre(Unfollowed("num_beams", "4")));
}

TEST(CheckUnfollowedTest, RefusesWhatNobodyAccepted) {
  const auto defaults =
      ReadConfig(R"({"top_h": 0.05, "repetition_penalty": 1.05, "num_beams": 4})");
  ASSERT_TRUE(defaults.ok()) << defaults.status();
  const absl::Status refused = CheckUnfollowed(*defaults, {});
  EXPECT_EQ(refused.code(), absl::StatusCode::kUnimplemented);
  EXPECT_EQ(std::string(refused.message()),
            "generation_config.json: top_h: 0.05, num_beams: 4: not supported, and may change "
            "answers; coordinator --ignore_generation_config top_h,num_beams serves the model "
            "without");
  EXPECT_THAT(std::string(CheckUnfollowed(*defaults, {"top_h"}).message()),
              testing::StartsWith("generation_config.json: num_beams: 4: not"));
  EXPECT_EQ(CheckUnfollowed(*defaults, {"top_h", "num_beams", "other"}), absl::OkStatus());
}

// The files of Phi-4-mini, DeepSeek-R1-Distill, Llama 3.2 and Unsloth's copy of it.
TEST(CheckUnfollowedTest, PublishedModelsAreFollowedWholly) {
  for (const char* text :
       {R"({"_from_model_config": true, "bos_token_id": 199999, "eos_token_id": [200020, 199999],
            "pad_token_id": 199999, "transformers_version": "4.45.0"})",
        R"({"_from_model_config": true, "bos_token_id": 128000, "eos_token_id": 128001,
            "do_sample": true, "temperature": 0.6, "top_p": 0.95,
            "transformers_version": "4.39.3"})",
        R"({"bos_token_id": 128000, "do_sample": true, "eos_token_id": [128001, 128008, 128009],
            "temperature": 0.6, "top_p": 0.9, "transformers_version": "4.45.0.dev0"})",
        R"({"bos_token_id": 128000, "do_sample": true, "eos_token_id": [128001, 128008, 128009],
            "max_length": 131072, "pad_token_id": 128004, "temperature": 0.6, "top_p": 0.9,
            "transformers_version": "4.50.0"})"}) {
    const auto defaults = ReadConfig(text);
    ASSERT_TRUE(defaults.ok()) << defaults.status();
    EXPECT_THAT(defaults->unfollowed, IsEmpty()) << text;
  }
}

TEST(CheckUnfollowedTest, AMessageStaysShort) {
  GenerationDefaults defaults;
  for (int i = 0; i < 1000; ++i) defaults.unfollowed.push_back({absl::StrCat("key", i), "1"});
  const std::string message(CheckUnfollowed(defaults, {}).message());
  EXPECT_THAT(message, testing::HasSubstr("key19: 1, and 980 more: not supported"));
  EXPECT_THAT(message, testing::HasSubstr("key19,... serves"));
}

// Qwen2.5's advice, and the same key in a GGUF file.
TEST(CheckUnfollowedTest, APublishedRepetitionPenaltyIsFollowed) {
  const auto qwen = ReadConfig(R"({"bos_token_id": 151643, "pad_token_id": 151643,
      "do_sample": true, "eos_token_id": [151645, 151643], "repetition_penalty": 1.05,
      "temperature": 0.7, "top_p": 0.8, "top_k": 20, "transformers_version": "4.37.0"})");
  ASSERT_TRUE(qwen.ok()) << qwen.status();
  EXPECT_THAT(qwen->unfollowed, IsEmpty());
  EXPECT_EQ(qwen->sampling.repetition_penalty, 1.05f);
  GgufWriter writer;
  writer.AddF32("general.sampling.penalty_repeat", 1.05f);
  writer.AddF32("general.sampling.min_p", 0.05f);
  const GenerationDefaults of_file = Read(writer);
  EXPECT_THAT(of_file.unfollowed, IsEmpty());
  EXPECT_EQ(of_file.sampling.repetition_penalty, 1.05f);
  EXPECT_EQ(of_file.sampling.min_p, 0.05f);
  writer.AddF32("general.sampling.xtc_probability", 0.5f);
  EXPECT_THAT(
      std::string(CheckUnfollowed(Read(writer), {}).message()),
      testing::HasSubstr("defaults.gguf: general.sampling.xtc_probability: 0.5: not supported"));
  EXPECT_EQ(CheckUnfollowed(Read(writer), {"general.sampling.xtc_probability"}), absl::OkStatus());
}

TEST(GenerationConfigTest, ValuesOfAnotherTypeAreErrors) {
  for (const char* text :
       {R"({"do_sample": "yes"})", R"({"temperature": "hot"})", R"({"eos_token_id": "2"})", "[]"}) {
    EXPECT_EQ(ReadConfig(text).status().code(), absl::StatusCode::kDataLoss) << text;
  }
}

}  // namespace
}  // namespace phalanx
