#include "coordinator/admission/validate.h"

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/str_join.h"
#include "coordinator/admission/testing/bad_request.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

TEST(ValidateGenerateTest, AcceptsTheEdgesOfEveryRange) {
  for (const std::string& request : std::vector<std::string>{
           "text: 'hello'",
           "text: '12345678901234567890'",
           "model: 'tiny' text: 'a'",
           "tokens { ids: 0 ids: 99 }",
           "chat { messages { role: 'user' content: '' } }",
           "chat { messages { role: 'system' content: 'a' } messages { role: 'assistant' "
           "content: 'b' } messages { role: 'tool' content: 'c' } }",
           "text: 'a' sampling { temperature: 0 top_k: 0 top_p: 1 seed: 0 }",
           "text: 'a' sampling { temperature: 100 top_k: 2147483647 top_p: 1e-30 }",
           "text: 'a' sampling { seed: 18446744073709551615 }",
           "text: 'a' max_new_tokens: 1 ignore_eos: true",
           "text: 'a' max_new_tokens: 63",
           "text: 'a' allow_special: true reasoning { split: false }",
           "text: 'a' reasoning { max_tokens: 0 }",
           "text: 'a' reasoning { split: true max_tokens: 2147483647 }",
           "text: 'a' stop: ['x', 'y']",
           "text: 'a' cache_salt: 'x'",
           "text: 'a' priority: -10 tenant: 'x'",
           "text: 'a' priority: 10",
           "text: 'a' constraint { json_schema: '{}' }",
           "text: 'a' constraint { json_object: true } ignore_eos: false",
           "text: 'a' constraint { regex: '" + std::string(65536, 'x') + "' }",
           "text: 'a' constraint { choices { values: ['a', 'b'] } }",
           "text: 'a' constraint { lark: 'start:' }",
       }) {
    SCOPED_TRACE(request);
    EXPECT_EQ(ValidateGenerate(Parse<v1::GenerateRequest>(request), Limits()), absl::OkStatus());
  }
}

TEST(ValidateGenerateTest, NamesTheFieldAndTheRange) {
  ExpectRefused<v1::GenerateRequest>(
      {
          {"model: 'huge' text: 'a'", "model: \"huge\" is unknown, this server has \"tiny\"",
           absl::StatusCode::kNotFound},
          {"model: '' text: 'a'", "model: \"\" is unknown", absl::StatusCode::kNotFound},
          {"", "input: one of text, chat and tokens must be set"},
          {"text: ''", "text: must not be empty"},
          {"text: '123456789012345678901'",
           "text: 21 bytes are more than the 20 allowed (the server's --max_prompt_bytes)"},
          {"tokens {}", "tokens.ids: must not be empty"},
          {"tokens { ids: 1 ids: -1 }", "tokens.ids[1]: -1 is not in [0, 99]"},
          {"tokens { ids: 100 }", "tokens.ids[0]: 100 is not in [0, 99]"},
          {"chat {}", "chat.messages: must not be empty"},
          {"text: 'a' sampling { temperature: 101 }",
           "sampling.temperature: 101 is not in [0, 100]"},
          {"text: 'a' sampling { temperature: -0.5 }",
           "sampling.temperature: -0.5 is not in [0, 100]"},
          {"text: 'a' sampling { temperature: nan }",
           "sampling.temperature: nan is not in [0, 100]"},
          {"text: 'a' sampling { temperature: inf }",
           "sampling.temperature: inf is not in [0, 100]"},
          {"text: 'a' sampling { top_k: -1 }", "sampling.top_k: -1 is not in [0, 2147483647]"},
          {"text: 'a' sampling { top_p: 0 }", "sampling.top_p: 0 is not in (0, 1]"},
          {"text: 'a' sampling { top_p: 1.5 }", "sampling.top_p: 1.5 is not in (0, 1]"},
          {"text: 'a' sampling { top_p: 1.0000001 }", "sampling.top_p: 1.0000001 is not in (0, 1]"},
          {"text: 'a' sampling { temperature: 100.00001 }",
           "sampling.temperature: 100.00001 is not in [0, 100]"},
          {"text: 'a' sampling { temperature: -1e-45 }",
           "sampling.temperature: -1e-45 is not in [0, 100]"},
          {"text: 'a' sampling { top_p: nan }", "sampling.top_p: nan is not in (0, 1]"},
          {"text: 'a' sampling { top_p: -inf }", "sampling.top_p: -inf is not in (0, 1]"},
          {"text: 'a' reasoning { max_tokens: -1 }",
           "reasoning.max_tokens: -1 is not in [0, 2147483647]"},
          {"text: 'a' reasoning { max_tokens: 1 split: false }",
           "reasoning.max_tokens: cannot be set together with reasoning.split: false"},
          {"text: 'a' priority: 11", "priority: 11 is not in [-10, 10]"},
          {"text: 'a' priority: -11", "priority: -11 is not in [-10, 10]"},
          {"text: 'a' constraint {}", "constraint: one of json_schema, json_object, regex"},
          {"text: 'a' constraint { json_schema: '' }", "constraint.json_schema: must not be empty"},
          {"text: 'a' constraint { json_object: false }", "constraint.json_object: must be true"},
          {"text: 'a' constraint { lark: '" + std::string(65537, 'x') + "' }",
           "constraint.lark: has 65537 bytes, and 65536 are allowed"},
          {"text: 'a' constraint { choices {} }", "constraint.choices.values: must not be empty"},
          {"text: 'a' constraint { choices { values: ['a', ''] } }",
           "constraint.choices.values[1]: must not be empty"},
          {"text: 'a' constraint { choices { values: '" + std::string(65535, 'x') + "' } }",
           "constraint.choices.values: has 65539 bytes"},
          {"text: 'a' constraint { regex: 'a' } min_new_tokens: 1",
           "min_new_tokens: cannot be set together with constraint"},
          {"text: 'a' constraint { regex: 'a' } ignore_eos: true",
           "ignore_eos: cannot be set together with constraint"},
          {"text: 'a' tenant: ''", "tenant: length: 0 is not in [1, 256]"},
          {"text: 'a' tenant: '" + std::string(257, 'x') + "'",
           "tenant: length: 257 is not in [1, 256]"},
          {"text: 'a' cache_salt: ''", "cache_salt: length: 0 is not in [1, 256]"},
          {"text: 'a' cache_salt: '" + std::string(257, 'x') + "'",
           "cache_salt: length: 257 is not in [1, 256]"},
          {"text: 'a' stop: ['x', '']", "stop[1]: length: 0 is not in [1, 256]"},
          {"text: 'a' stop: '" + std::string(257, 'x') + "'", "stop[0]: length: 257 is not in"},
          {"text: 'a' stop: [" + absl::StrJoin(std::vector<std::string>(17, "'x'"), ",") + "]",
           "stop: 17 strings are more than the 16 allowed"},
          {"text: 'a' max_new_tokens: 0", "max_new_tokens: 0 is not in [1, 63]"},
          {"text: 'a' max_new_tokens: -1", "max_new_tokens: -1 is not in [1, 63]"},
          {"text: 'a' max_new_tokens: -2147483648", "max_new_tokens: -2147483648 is not in"},
          {"text: 'a' max_new_tokens: 2147483647", "max_new_tokens: 2147483647 is not in [1, 63]"},
      },
      ValidateGenerate);
}

TEST(ValidateGenerateTest, RefusesAsManyTokensAsTheContextHolds) {
  v1::GenerateRequest request;
  for (int i = 0; i < 63; ++i) request.mutable_tokens()->add_ids(1);
  EXPECT_EQ(ValidateGenerate(request, Limits()), absl::OkStatus());
  request.mutable_tokens()->add_ids(1);
  const absl::Status status = ValidateGenerate(request, Limits());
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("tokens.ids: 64 tokens leave no room for an answer in the context of 64"));
}

TEST(ValidateGenerateTest, QuotesNeitherControlCharactersNorLongNames) {
  v1::GenerateRequest request;
  request.set_text("a");
  request.set_model("\x1b[31m\n" + std::string(1 << 20, 'x'));
  const absl::Status status = ValidateGenerate(request, Limits());
  EXPECT_LT(status.message().size(), 200u);
  EXPECT_EQ(status.message().find('\n'), absl::string_view::npos);
  EXPECT_EQ(status.message().find('\x1b'), absl::string_view::npos);
}

TEST(ResolveMaxNewTokensTest, DefaultsToAllTheRoomThatThePromptLeaves) {
  EXPECT_EQ(*ResolveMaxNewTokens(1, std::nullopt, Limits()), 63);
  EXPECT_EQ(*ResolveMaxNewTokens(63, std::nullopt, Limits()), 1);
  EXPECT_EQ(*ResolveMaxNewTokens(60, 4, Limits()), 4);
}

TEST(ResolveMaxNewTokensTest, TheModelsOwnDefaultIsForRequestsThatDoNotSay) {
  RequestLimits limits = Limits();
  limits.default_max_length = 20;
  EXPECT_EQ(*ResolveMaxNewTokens(5, std::nullopt, limits), 15);
  EXPECT_EQ(*ResolveMaxNewTokens(19, std::nullopt, limits), 1);
  EXPECT_EQ(*ResolveMaxNewTokens(5, 40, limits), 40);
  EXPECT_EQ(std::string(ResolveMaxNewTokens(20, std::nullopt, limits).status().message()),
            "max_new_tokens: must be set: the model's own max_length of 20 leaves nothing after 20 "
            "prompt tokens");
  EXPECT_EQ(*ResolveMaxNewTokens(20, 3, limits), 3);
  limits.default_max_new_tokens = 8;
  EXPECT_EQ(*ResolveMaxNewTokens(20, std::nullopt, limits), 8);
  EXPECT_EQ(*ResolveMaxNewTokens(60, std::nullopt, limits), 4);
  limits.default_max_new_tokens = 0;
  limits.default_max_length = 1 << 30;
  EXPECT_EQ(*ResolveMaxNewTokens(5, std::nullopt, limits), 59);
}

TEST(ResolveMaxNewTokensTest, RefusesWhatDoesNotFitTheContext) {
  EXPECT_EQ(std::string(ResolveMaxNewTokens(60, 5, Limits()).status().message()),
            "max_new_tokens: 5 is not in [1, 4], the room that 60 prompt tokens leave in the "
            "context of 64");
}

TEST(CheckPromptLengthTest, APromptHasTokensAndLeavesRoomForAnAnswer) {
  EXPECT_TRUE(CheckPromptLength(1, Limits()).ok());
  EXPECT_TRUE(CheckPromptLength(63, Limits()).ok());
  EXPECT_THAT(std::string(CheckPromptLength(64, Limits()).message()),
              StartsWith("prompt: 64 tokens leave no room"));
  EXPECT_EQ(CheckPromptLength(int64_t{1} << 40, Limits()).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(CheckPromptLength(0, Limits()).message(), "prompt: must not be empty");
}

TEST(RefusalKindTest, EachCheckNotesItsOwn) {
  RequestLimits no_template = Limits();
  no_template.has_chat_template = false;
  const struct {
    std::string request;
    RefusalKind kind;
  } cases[] = {
      {"text: 'a' model: 'other'", RefusalKind::kUnknownModel},
      {"", RefusalKind::kEmpty},
      {"text: ''", RefusalKind::kEmpty},
      {"chat {}", RefusalKind::kUnsupported},
      {"text: 'a' sampling { top_p: 0 }", RefusalKind::kOutOfRange},
      {"text: 'a' max_new_tokens: 0", RefusalKind::kOutOfRange},
      {"tokens { ids: 100 }", RefusalKind::kOutOfRange},
      {"text: 'more than twenty bytes'", RefusalKind::kTooLarge},
  };
  for (const auto& [request, kind] : cases) {
    SCOPED_TRACE(request);
    const absl::Status status = ValidateGenerate(Parse<v1::GenerateRequest>(request), no_template);
    EXPECT_EQ(KindOfRefusal(status), kind);
  }
  EXPECT_EQ(KindOfRefusal(CheckPromptLength(64, Limits())), RefusalKind::kTooLong);
  EXPECT_EQ(KindOfRefusal(CheckPromptLength(0, Limits())), RefusalKind::kEmpty);
  EXPECT_EQ(KindOfRefusal(ResolveMaxNewTokens(60, 5, Limits()).status()), RefusalKind::kTooLong);
  EXPECT_EQ(KindOfRefusal(CheckScoreTokens(65, Limits())), RefusalKind::kTooLong);
  const auto many = Parse<v1::DetokenizeRequest>("token_ids: [1, 2, 3, 4, 5]");
  EXPECT_EQ(KindOfRefusal(ValidateDetokenize(many, Limits())), RefusalKind::kTooMany);
}

TEST(ValidateScoreTest, ChecksInputAndItsLength) {
  EXPECT_TRUE(ValidateScore(Parse<v1::ScoreRequest>("text: 'a'"), Limits()).ok());
  EXPECT_TRUE(ValidateScore(Parse<v1::ScoreRequest>("tokens { ids: [1, 99] }"), Limits()).ok());
  ExpectRefused<v1::ScoreRequest>(
      {
          {"model: 'x' text: 'a'", "model: \"x\" is unknown", absl::StatusCode::kNotFound},
          {"", "input: one of text and tokens must be set"},
          {"text: ''", "text: must not be empty"},
          {"text: '123456789012345678901'", "text: 21 bytes"},
          {"tokens {}", "input: 0 tokens; what follows nothing has no score"},
          {"tokens { ids: 1 }", "input: 1 tokens"},
          {"tokens { ids: [1, 100] }", "tokens.ids[1]: 100 is not in [0, 99]"},
      },
      ValidateScore);
  EXPECT_TRUE(CheckScoreTokens(64, Limits()).ok());
  EXPECT_EQ(std::string(CheckScoreTokens(65, Limits()).message()),
            "input: 65 tokens are more than the context of 64; score them in windows");
}

TEST(ValidateTokenizeTest, ChecksTheSameFields) {
  EXPECT_TRUE(ValidateTokenize(Parse<v1::TokenizeRequest>("text: 'a'"), Limits()).ok());
  ExpectRefused<v1::TokenizeRequest>(
      {
          {"model: 'x' text: 'a'", "model: \"x\" is unknown", absl::StatusCode::kNotFound},
          {"", "input: one of text and chat must be set"},
          {"text: ''", "text: must not be empty"},
          {"chat {}", "chat.messages: must not be empty"},
          {"text: '123456789012345678901'", "text: 21 bytes"},
      },
      ValidateTokenize);
}

TEST(ValidateDetokenizeTest, ChecksIdsAndTheirNumber) {
  EXPECT_TRUE(ValidateDetokenize(Parse<v1::DetokenizeRequest>(""), Limits()).ok());
  ExpectRefused<v1::DetokenizeRequest>(
      {
          {"model: 'x'", "model: \"x\" is unknown", absl::StatusCode::kNotFound},
          {"token_ids: [1, 100]", "token_ids[1]: 100 is not in [0, 99]"},
          {"token_ids: [-1]", "token_ids[0]: -1 is not in [0, 99]"},
          {"token_ids: [1, 1, 1, 1, 1]", "token_ids: 5 ids are more than the 4 allowed"},
      },
      ValidateDetokenize);
}

TEST(ValidateGetModelTest, KnowsOnlyTheServedModel) {
  EXPECT_TRUE(ValidateGetModel(Parse<v1::GetModelRequest>(""), Limits()).ok());
  EXPECT_TRUE(ValidateGetModel(Parse<v1::GetModelRequest>("model: 'tiny'"), Limits()).ok());
  ExpectRefused<v1::GetModelRequest>(
      {{"model: 'x'", "model: \"x\" is unknown", absl::StatusCode::kNotFound}}, ValidateGetModel);
}

}  // namespace
}  // namespace phalanx
