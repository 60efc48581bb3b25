#include "client/format.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace phalanx {
namespace {

TEST(FormatTest, StartedHasEveryFieldAndShortFloats) {
  v1::GenerateEvent event;
  v1::Started& started = *event.mutable_started();
  started.set_request_id("r1");
  started.set_model("m");
  started.set_prompt_tokens(7);
  started.set_max_new_tokens(9);
  started.mutable_sampling()->set_temperature(0.2f);
  started.mutable_sampling()->set_top_k(40);
  started.mutable_sampling()->set_top_p(0.95f);
  started.mutable_sampling()->set_seed(18446744073709551615u);
  EXPECT_EQ(EventJson(event),
            R"({"event":"started","request_id":"r1","model":"m","prompt_tokens":7,)"
            R"("max_new_tokens":9,"sampling":{"temperature":0.2,"top_k":40,"top_p":0.95,)"
            R"("seed":"18446744073709551615"}})");
}

TEST(FormatTest, DeltaKeepsUtf8AndStaysOnOneLine) {
  v1::GenerateEvent event;
  event.mutable_delta()->set_sequence(3);
  event.mutable_delta()->add_token_ids(5);
  event.mutable_delta()->set_text("é\n\"👍");
  event.mutable_delta()->set_reasoning_text("hm");
  EXPECT_EQ(
      EventJson(event),
      "{\"event\":\"delta\",\"sequence\":3,\"choice\":0,\"token_ids\":[5],\"text\":\"é\\n\\\"👍\","
      "\"reasoning_text\":\"hm\"}");
}

TEST(FormatTest, FinishedHasReasonUsageAndTimings) {
  v1::GenerateEvent event;
  v1::Finished& finished = *event.mutable_finished();
  finished.set_reason(v1::FINISH_REASON_LENGTH);
  finished.mutable_usage()->set_prompt_tokens(1);
  finished.mutable_usage()->set_completion_tokens(2);
  finished.mutable_usage()->set_cached_tokens(3);
  finished.mutable_usage()->set_drafted_tokens(5);
  finished.mutable_usage()->set_accepted_tokens(4);
  finished.mutable_timings()->set_decode_seconds(0.5);
  const auto json = nlohmann::json::parse(EventJson(event));
  EXPECT_EQ(json["event"], "finished");
  EXPECT_EQ(json["reason"], "length");
  EXPECT_EQ(json["usage"]["completion_tokens"], 2);
  EXPECT_EQ(json["usage"]["cached_tokens"], 3);
  EXPECT_EQ(json["usage"]["drafted_tokens"], 5);
  EXPECT_EQ(json["usage"]["accepted_tokens"], 4);
  EXPECT_EQ(json["timings"]["decode_seconds"], 0.5);
  EXPECT_EQ(json["timings"].size(), 4u);
  EXPECT_FALSE(json.contains("stop"));
  EXPECT_EQ(json["usage"]["reasoning_closed"], false);
  finished.set_reason(v1::FINISH_REASON_REASONING_LENGTH);
  finished.mutable_usage()->set_reasoning_closed(true);
  EXPECT_EQ(nlohmann::json::parse(EventJson(event))["reason"], "reasoning_length");
  EXPECT_EQ(nlohmann::json::parse(EventJson(event))["usage"]["reasoning_closed"], true);
  finished.set_stop("\n");
  EXPECT_EQ(nlohmann::json::parse(EventJson(event))["stop"], "\n");
}

TEST(FormatTest, ErrorsSurviveBytesThatAreNotUtf8) {
  const auto json = nlohmann::json::parse(ErrorJson(absl::NotFoundError("no \xff")));
  EXPECT_EQ(json["code"], "NOT_FOUND");
  EXPECT_EQ(json["message"], "no \xef\xbf\xbd");
}

TEST(FormatTest, TablesAlign) {
  v1::ListModelsResponse models;
  v1::Model& model = *models.add_models();
  model.set_name("SmolLM2");
  model.set_architecture("llama");
  model.set_context_tokens(8192);
  model.set_vocab_size(49152);
  model.set_has_chat_template(true);
  model.set_serving_groups(1);
  EXPECT_EQ(ModelTable(models),
            "MODEL    ARCHITECTURE   CONTEXT     VOCAB  TEMPLATE  GROUPS\n"
            "SmolLM2  llama             8192     49152  yes       1\n");
  v1::UnfollowedDefault& unfollowed = *model.add_unfollowed_defaults();
  unfollowed.set_key("repetition_penalty");
  unfollowed.set_value("1.05");
  model.set_default_max_new_tokens(99);
  const auto json = nlohmann::json::parse(ModelJson(model));
  EXPECT_EQ(json["context_tokens"], 8192);
  EXPECT_EQ(json["unfollowed_defaults"]["repetition_penalty"], "1.05");
  EXPECT_EQ(json["default_max_new_tokens"], 99);
  EXPECT_EQ(json["default_max_length"], nullptr);
  EXPECT_EQ(json["determinism"], nullptr);
  model.set_determinism(v1::DETERMINISM_STRICT);
  EXPECT_EQ(nlohmann::json::parse(ModelJson(model))["determinism"], "strict");
  model.set_determinism(v1::DETERMINISM_FAST);
  EXPECT_EQ(nlohmann::json::parse(ModelJson(model))["determinism"], "fast");
  EXPECT_EQ(json["arithmetic"], nlohmann::json::array());
  model.add_arithmetic("avx2 int8");
  EXPECT_EQ(nlohmann::json::parse(ModelJson(model))["arithmetic"],
            nlohmann::json::array({"avx2 int8"}));
}

TEST(FormatTest, TokensShowTheirText) {
  v1::TokenizeResponse tokens;
  tokens.add_token_ids(198);
  tokens.set_text("\n");
  EXPECT_EQ(TokenTable(tokens, {"\n"}), "     198  \"\\n\"\n");
  EXPECT_EQ(TokensJson(tokens, {"\n"}), R"({"token_ids":[198],"pieces":["\n"],"text":"\n"})");
}

TEST(FormatTest, TokensShowTheirPlacesIfToldByTheServer) {
  v1::TokenizeResponse tokens;
  tokens.add_token_ids(7);
  tokens.set_text("é");
  v1::TokenPiece& piece = *tokens.add_pieces();
  piece.set_bytes("\xc3");
  piece.set_begin(0);
  piece.set_end(1);
  EXPECT_EQ(TokenTable(tokens, {"\xc3"}), "       7       0-1  \"\ufffd\"\n");
  EXPECT_EQ(TokensJson(tokens, {"\xc3"}),
            "{\"token_ids\":[7],\"pieces\":[\"\ufffd\"],\"text\":\"é\",\"spans\":[[0,1]],"
            "\"piece_bytes\":[\"c3\"]}");
}

TEST(FormatTest, AModelTellsFeaturesAndLimits) {
  v1::Model model;
  model.add_features("n");
  model.mutable_limits()->set_max_choices(16);
  model.set_fingerprint("feed");
  model.set_server_version("1.2.3 (release)");
  const auto json = nlohmann::json::parse(ModelJson(model));
  EXPECT_EQ(json["features"], nlohmann::json::array({"n"}));
  EXPECT_EQ(json["limits"]["max_choices"], 16);
  EXPECT_EQ(json["fingerprint"], "feed");
  EXPECT_EQ(json["server_version"], "1.2.3 (release)");
}

TEST(FormatTest, StatsLeaveOutWhatWasNotMeasured) {
  StreamStats stats;
  stats.prompt_tokens = 12;
  EXPECT_EQ(StatsLine(stats), "12 prompt tokens, 0 generated\n");
  stats.completion_tokens = 1;
  stats.time_to_first_token = absl::Milliseconds(85);
  EXPECT_EQ(StatsLine(stats), "12 prompt tokens, 1 generated, first after 85 ms\n");
  stats.completion_tokens = 21;
  stats.decode_time = absl::Milliseconds(500);
  EXPECT_EQ(StatsLine(stats),
            "12 prompt tokens, 21 generated, first after 85 ms, then 40.0 tokens/s\n");
  stats.drafted_tokens = 25;
  stats.accepted_tokens = 20;
  EXPECT_EQ(StatsLine(stats),
            "12 prompt tokens, 21 generated, first after 85 ms, then 40.0 tokens/s, 20 of 25 "
            "guesses right\n");
}

TEST(FormatTest, PerplexityIsALineOrJson) {
  const PerplexityResult result{.model = "m",
                                .tokens = 8123,
                                .nats_per_token = 2.0,
                                .perplexity = 7.38905609893065,
                                .window_tokens = 1024,
                                .stride_tokens = 512};
  EXPECT_EQ(PerplexityLine(result),
            "perplexity 7.3891, 8123 tokens, 2.0000 nats a token (windows of 1024, stride 512)\n");
  EXPECT_EQ(PerplexityJson(result),
            R"({"model":"m","tokens":8123,"nats_per_token":2.0,"perplexity":7.38905609893065,)"
            R"("window":1024,"stride":512})");
}

TEST(FormatTest, HealthHasNames) {
  EXPECT_EQ(HealthJson("m", ServingState::kServing), R"({"service":"m","status":"SERVING"})");
  EXPECT_EQ(ServingStateName(ServingState::kNotServing), "NOT_SERVING");
  EXPECT_EQ(ServingStateName(ServingState::kUnknown), "SERVICE_UNKNOWN");
}

}  // namespace
}  // namespace phalanx
