#include "coordinator/admission/generation_message.h"

#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace phalanx {
namespace {

TEST(SamplingMessageTest, WhatIsSetReplacesTheDefault) {
  const Sampling defaults = {.temperature = 0.5f, .top_k = 3, .top_p = 0.75f};
  v1::Sampling message;
  EXPECT_EQ(ReadSampling(message, defaults), defaults);
  message.set_temperature(0);
  message.set_top_k(0);
  const Sampling read = ReadSampling(message, defaults);
  EXPECT_EQ(read, (Sampling{.temperature = 0, .top_k = 0, .top_p = 0.75f}));
}

TEST(SamplingMessageTest, WhatIsWrittenIsRead) {
  const Sampling sampling = {.temperature = 0.5f, .top_k = 3, .top_p = 0.75f};
  v1::Sampling message;
  WriteSampling(sampling, &message);
  EXPECT_EQ(message.temperature(), 0.5f);
  EXPECT_EQ(message.top_k(), 3);
  EXPECT_EQ(message.top_p(), 0.75f);
  EXPECT_FALSE(message.has_seed());
  EXPECT_EQ(ReadSampling(message, Sampling()), sampling);
}

// A field of the API without a parameter would be ignored.
TEST(SamplingMessageTest, TheMessageHasTheParametersTheSeedAndTheBiases) {
  std::set<std::string> names = {"seed", "logit_bias"};
  Sampling sampling;
  VisitSampling(sampling, [&](const SamplingParameter& parameter, auto) {
    names.insert(std::string(parameter.name));
  });
  std::set<std::string> fields;
  for (int i = 0; i < v1::Sampling::descriptor()->field_count(); ++i) {
    fields.insert(v1::Sampling::descriptor()->field(i)->name());
  }
  EXPECT_EQ(fields, names);
}

TEST(GenerationOptionsMessageTest, WhatIsNotSetIsNotAskedFor) {
  const GenerationOptions options = ReadGenerationOptions({});
  EXPECT_TRUE(options.logit_bias.empty());
  EXPECT_EQ(options.min_new_tokens, 0);
  EXPECT_EQ(options.log_probs, std::nullopt);
  EXPECT_EQ(options.repetition_limit, std::nullopt);
  EXPECT_EQ(options.max_draft_tokens, std::nullopt);
  EXPECT_EQ(options.stream_interval, 1);
}

TEST(GenerationOptionsMessageTest, ReadsEveryFieldWithItsDefaultsAndSortsBiases) {
  v1::GenerateRequest request;
  for (const auto& [token_id, bias] : {std::pair(9, 1.5f), std::pair(2, -3.0f)}) {
    v1::LogitBias& message = *request.mutable_sampling()->add_logit_bias();
    message.set_token_id(token_id);
    message.set_bias(bias);
  }
  request.set_min_new_tokens(3);
  request.mutable_log_probs();
  request.mutable_repetition_limit()->set_times(7);
  request.mutable_speculation();
  request.set_stream_interval(0);
  const GenerationOptions options = ReadGenerationOptions(request);
  EXPECT_EQ(options.logit_bias, (std::vector<LogitBias>{{2, -3.0f}, {9, 1.5f}}));
  EXPECT_EQ(options.min_new_tokens, 3);
  EXPECT_EQ(options.log_probs, 0);
  EXPECT_EQ(options.repetition_limit, (RepetitionLimit{.times = 7}));
  request.mutable_log_probs()->set_top(4);
  EXPECT_EQ(ReadGenerationOptions(request).log_probs, 4);
  EXPECT_EQ(options.max_draft_tokens, 8);
  request.mutable_speculation()->set_max_draft_tokens(0);
  EXPECT_EQ(ReadGenerationOptions(request).max_draft_tokens, 0) << "which is refused later";
  EXPECT_EQ(options.stream_interval, 0) << "which is refused later";
}

}  // namespace
}  // namespace phalanx
