#include <fstream>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_split.h"
#include "coordinator/server/describe_server.h"
#include "coordinator/server/testing/server_fixture.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/generation/engine_features.h"

namespace phalanx {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

using InferenceServiceTest = ServerTest;

TEST_F(InferenceServiceTest, BytesThatAreNoMessageAreInvalidArgument) {
  Start({});
  const std::vector<std::string> garbage = {
      std::string("\x12\x7f"
                  "a"),                     // a length beyond the end
      std::string("\xff\xff\xff\xff\xff"),  // a varint without end
      std::string("\x0a\x02\xc3\x28"),      // model: not UTF-8
  };
  for (const char* method : {"Generate", "Score", "Tokenize", "Detokenize", "GetModel"}) {
    for (const std::string& bytes : garbage) {
      const grpc::Status status = SendBytes(method, bytes);
      EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << method;
      EXPECT_THAT(status.error_message(), HasSubstr("bytes are no phalanx.v1.")) << method;
    }
  }
  EXPECT_EQ(SendBytes("ListModels", "\xff").error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Metric("phalanx_refusals_total{kind=\"malformed\"}"), "16");
}

TEST_F(InferenceServiceTest, GenerateRefusesUnknownFieldsAndOthersIgnoreThem) {
  Start({});
  // Field 1000, varint 1.
  EXPECT_TRUE(SendBytes("ListModels", "\xc0\x3e\x01").ok());
  const std::string empty_prompt("\x12\x00\xc0\x3e\x01", 5);
  EXPECT_EQ(SendBytes("Tokenize", empty_prompt).error_message(), "text: must not be empty");
  const grpc::Status status = SendBytes("Generate", empty_prompt);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(status.error_message(),
            "1000: this server does not know that field of phalanx.v1.GenerateRequest, or not as "
            "this type; is the caller newer?");
  EXPECT_EQ(Metric("phalanx_refusals_total{kind=\"malformed\"}"), "1");
}

TEST_F(InferenceServiceTest, AMessageAboveTheSizeLimitIsResourceExhausted) {
  Start({});
  EXPECT_EQ(SendBytes("Generate", std::string(5 << 20, 'x')).error_code(),
            grpc::StatusCode::RESOURCE_EXHAUSTED);
}

TEST_F(InferenceServiceTest, TokenizesTextAndChat) {
  Start({});
  v1::TokenizeRequest request;
  request.set_text("ab");
  v1::TokenizeResponse response;
  grpc::ClientContext context;
  ASSERT_TRUE(stub_->Tokenize(&context, request, &response).ok());
  EXPECT_THAT(response.token_ids(), ElementsAre('a', 'b'));
  EXPECT_EQ(response.text(), "ab");

  v1::Message& message = *request.mutable_chat()->add_messages();
  message.set_role("user");
  message.set_content("x");
  grpc::ClientContext chat_context;
  ASSERT_TRUE(stub_->Tokenize(&chat_context, request, &response).ok());
  EXPECT_EQ(response.text(), "user:x;");
}

TEST_F(InferenceServiceTest, TokenizeGivesPiecesIfAsked) {
  Start({});
  v1::TokenizeRequest request;
  request.set_text("a\xc3\xa9");
  v1::TokenizeResponse response;
  grpc::ClientContext without;
  ASSERT_TRUE(stub_->Tokenize(&without, request, &response).ok());
  EXPECT_TRUE(response.pieces().empty());
  request.set_pieces(true);
  grpc::ClientContext with;
  ASSERT_TRUE(stub_->Tokenize(&with, request, &response).ok());
  ASSERT_EQ(response.pieces_size(), 3);
  EXPECT_EQ(response.pieces(1).bytes(), "\xc3");
  EXPECT_EQ(response.pieces(1).begin(), 1);
  EXPECT_EQ(response.pieces(1).end(), 2);
}

TEST_F(InferenceServiceTest, Detokenizes) {
  Start({});
  v1::DetokenizeRequest request;
  request.add_token_ids('h');
  request.add_token_ids('i');
  v1::DetokenizeResponse response;
  grpc::ClientContext context;
  ASSERT_TRUE(stub_->Detokenize(&context, request, &response).ok());
  EXPECT_EQ(response.text(), "hi");
  request.add_token_ids(256);
  grpc::ClientContext bad_context;
  EXPECT_EQ(stub_->Detokenize(&bad_context, request, &response).error_message(),
            "token_ids[2]: 256 is not in [0, 255]");
}

TEST_F(InferenceServiceTest, DescribesItsModel) {
  FakeEngine engine({.context_tokens = 32});
  Start({&engine});
  WaitUntilServing();
  v1::ListModelsResponse models;
  grpc::ClientContext list_context;
  ASSERT_TRUE(stub_->ListModels(&list_context, {}, &models).ok());
  ASSERT_EQ(models.models_size(), 1);

  v1::GetModelRequest request;
  request.set_model("tiny");
  v1::Model model;
  grpc::ClientContext context;
  ASSERT_TRUE(stub_->GetModel(&context, request, &model).ok());
  EXPECT_EQ(model.SerializeAsString(), models.models(0).SerializeAsString());
  EXPECT_EQ(model.name(), "tiny");
  EXPECT_EQ(model.architecture(), "llama");
  EXPECT_EQ(model.context_tokens(), 32);
  EXPECT_EQ(model.vocab_size(), kFakeVocab);
  EXPECT_THAT(model.eos_token_ids(), ElementsAre(2));
  EXPECT_EQ(model.default_sampling().temperature(), 0.5f);
  EXPECT_FALSE(model.default_sampling().has_seed());
  EXPECT_FALSE(model.has_default_max_new_tokens());
  EXPECT_FALSE(model.has_default_max_length());
  EXPECT_TRUE(model.has_chat_template());
  EXPECT_FALSE(model.supports_tools());
  EXPECT_FALSE(model.reasons());
  EXPECT_EQ(model.serving_groups(), 1);
  EXPECT_EQ(model.weights_digest(), "cafe");
  EXPECT_EQ(model.determinism(), v1::DETERMINISM_STRICT);
}

TEST_F(InferenceServiceTest, AModelTellsWhichAdviceIsNotFollowedAndHowLongAnswersMayBe) {
  CoordinatorServer::Options options = DefaultOptions();
  options.model.defaults.unfollowed = {{"repetition_penalty", "1.05"}};
  options.limits.default_max_length = 2048;
  Start({}, options);
  v1::Model model;
  grpc::ClientContext context;
  ASSERT_TRUE(stub_->GetModel(&context, {}, &model).ok());
  ASSERT_EQ(model.unfollowed_defaults_size(), 1);
  EXPECT_EQ(model.unfollowed_defaults(0).key(), "repetition_penalty");
  EXPECT_EQ(model.unfollowed_defaults(0).value(), "1.05");
  EXPECT_FALSE(model.has_default_max_new_tokens());
  EXPECT_EQ(model.default_max_length(), 2048);
}

TEST_F(InferenceServiceTest, AModelTellsFeaturesLimitsAndVersions) {
  CoordinatorServer::Options options = DefaultOptions();
  options.version = "1.2.3 (release)";
  options.model.supports_tools = true;
  options.limits.has_chat_template = false;
  options.limits.max_prompt_bytes = 1000;
  options.text.max_queued = 7;
  options.answer.stall_timeout = absl::Seconds(30);
  Start({}, options);
  v1::Model model;
  grpc::ClientContext context;
  ASSERT_TRUE(stub_->GetModel(&context, {}, &model).ok());
  EXPECT_THAT(model.features(), Contains("tools"));
  EXPECT_THAT(model.features(), Contains("n"));
  // An answer from a group that does not know it is the same.
  EXPECT_THAT(model.features(), Contains("stream_interval"));
  EXPECT_THAT(model.features(), Not(Contains("chat")));
  EXPECT_THAT(model.features(), Not(Contains("add_bos")));
  EXPECT_EQ(model.limits().max_prompt_bytes(), 1000);
  EXPECT_EQ(model.limits().max_message_bytes(), 4 << 20);
  EXPECT_EQ(model.limits().max_choices(), 16);
  EXPECT_EQ(model.limits().max_draft_tokens(), 32);
  EXPECT_EQ(model.limits().max_stream_interval(), 256);
  EXPECT_EQ(model.limits().max_stop_strings(), 16);
  EXPECT_EQ(model.limits().max_requests(), 100);
  EXPECT_EQ(model.limits().max_queued_texts(), 7);
  EXPECT_EQ(model.limits().max_unread_bytes(), 1 << 20);
  EXPECT_EQ(model.limits().stall_seconds(), 30.0);
  EXPECT_EQ(model.fingerprint(), "feed");
  EXPECT_EQ(model.server_version(), "1.2.3 (release)");
}

TEST_F(InferenceServiceTest, AModelHasTheFeaturesThatAGroupOfItHas) {
  FakeEngine old({.features = {}}, nullptr);
  FakeEngine able({.features = {"score", "constraint", "of a later version"}}, nullptr);
  Start({&old, &able});
  v1::Model model;
  while (model.serving_groups() < 2) {
    grpc::ClientContext context;
    ASSERT_TRUE(stub_->GetModel(&context, {}, &model).ok());
  }
  EXPECT_THAT(model.features(), Contains("constraint"));
  EXPECT_THAT(model.features(), Contains("score"));
  // The coordinator's own.
  EXPECT_THAT(model.features(), Contains("n"));
  for (const char* lacking : {"speculation", "log_probs", "cache_salt", "of a later version"}) {
    EXPECT_THAT(model.features(), Not(Contains(lacking)));
  }
}

TEST_F(InferenceServiceTest, WithoutServingGroupsAModelHasWhatTheServerKnows) {
  Start({});
  v1::Model model;
  grpc::ClientContext context;
  ASSERT_TRUE(stub_->GetModel(&context, {}, &model).ok());
  EXPECT_EQ(model.serving_groups(), 0);
  EXPECT_THAT(model.features(), Contains("constraint"));
}

// A feature that needs a worker is known by the same name on both sides.
TEST(FeaturesTest, ThoseOfGroupsAreAmongTheServers) {
  std::vector<std::string> known;
  for (const Feature& feature : KnownFeatures({}, {})) known.push_back(feature.name);
  for (const std::string& feature : EngineFeatures()) EXPECT_THAT(known, Contains(feature));
}

TEST(FeaturesTest, AreInOrderAndDocumented) {
  std::set<std::string> documented;
  std::ifstream file("docs/api.md");
  for (std::string line; std::getline(file, line);) {
    const std::vector<std::string> cells = absl::StrSplit(line, '|');
    if (cells.size() > 1) documented.insert(std::string(absl::StripAsciiWhitespace(cells[1])));
  }
  std::string last;
  for (const Feature& feature : KnownFeatures({}, {})) {
    EXPECT_LT(last, feature.name);
    EXPECT_THAT(documented, Contains(feature.name));
    last = feature.name;
  }
}

TEST_F(InferenceServiceTest, AModelTellsThatItReasonsAndTakesTools) {
  CoordinatorServer::Options options = DefaultOptions();
  options.model.reasons = true;
  options.model.supports_tools = true;
  Start({}, options);
  v1::Model model;
  grpc::ClientContext context;
  ASSERT_TRUE(stub_->GetModel(&context, {}, &model).ok());
  EXPECT_TRUE(model.reasons());
  EXPECT_TRUE(model.supports_tools());
}

TEST_F(InferenceServiceTest, AModelHasTheContextOfItsGroupHoweverShort) {
  FakeEngine engine({.context_tokens = 1});
  Start({&engine});
  WaitUntilServing();
  v1::Model model;
  grpc::ClientContext context;
  ASSERT_TRUE(stub_->GetModel(&context, {}, &model).ok());
  EXPECT_EQ(model.context_tokens(), 1);
}

TEST_F(InferenceServiceTest, UnknownModelsAreNotFound) {
  Start({});
  v1::GetModelRequest request;
  request.set_model("huge");
  v1::Model model;
  grpc::ClientContext context;
  const grpc::Status status = stub_->GetModel(&context, request, &model);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_THAT(status.error_message(), HasSubstr("\"huge\" is unknown"));
  EXPECT_EQ(RequestsMetric("GetModel", "NOT_FOUND"), "1");
}

TEST_F(InferenceServiceTest, APortInUseIsUnavailable) {
  Start({});
  CoordinatorServer::Options options = DefaultOptions();
  options.listen = *ParseHostPort(server_->address(), PortUse::kListen);
  prometheus::Registry registry;
  const absl::Status status =
      CoordinatorServer::Start(options, std::make_unique<FakeTextService>(), registry).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr(server_->address()));
}

}  // namespace
}  // namespace phalanx
