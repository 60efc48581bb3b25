#include "worker/engine/request.h"

#include <cmath>
#include <functional>
#include <limits>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

using ::testing::HasSubstr;

constexpr EngineRequestLimits kLimits = {.vocab_size = 100, .context_tokens = 10};

GenerationRequest GoodRequest() {
  GenerationRequest request;
  request.prompt_token_ids = {0, 99, 5};
  request.max_new_tokens = 7;
  request.eos_token_ids = {2};
  return request;
}

TEST(ValidateRequestTest, TakesValuesUpToTheirLimits) {
  EXPECT_TRUE(ValidateRequest(GoodRequest(), kLimits).ok());
  GenerationRequest request = GoodRequest();
  request.sampling = {.temperature = 100.0f,
                      .top_k = std::numeric_limits<int32_t>::max(),
                      .top_p = std::numeric_limits<float>::denorm_min()};
  request.seed = std::numeric_limits<uint64_t>::max();
  request.eos_token_ids.assign(kMaxEosTokenIds, 99);
  EXPECT_TRUE(ValidateRequest(request, kLimits).ok());
}

TEST(ValidateRequestTest, ScoresFromTwoTokensUpToTheContext) {
  GenerationRequest request = GoodRequest();
  request.score = true;
  request.max_new_tokens = 0;
  request.prompt_token_ids = {0, 99};
  EXPECT_TRUE(ValidateRequest(request, kLimits).ok());
  request.prompt_token_ids.assign(10, 1);
  EXPECT_TRUE(ValidateRequest(request, kLimits).ok());
  request.prompt_token_ids.assign(11, 1);
  EXPECT_FALSE(ValidateRequest(request, kLimits).ok());
}

struct BadRequest {
  std::string name;
  std::function<void(GenerationRequest&)> spoil;
  std::string message;
};

class ValidateBadRequestTest : public ::testing::TestWithParam<BadRequest> {};

TEST_P(ValidateBadRequestTest, NamesTheField) {
  GenerationRequest request = GoodRequest();
  GetParam().spoil(request);
  const absl::Status status = ValidateRequest(request, kLimits);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr(GetParam().message));
}

const float kNan = std::nanf("");
const float kInfinity = std::numeric_limits<float>::infinity();

INSTANTIATE_TEST_SUITE_P(
    , ValidateBadRequestTest,
    ::testing::ValuesIn<BadRequest>({
        {"EmptyPrompt", [](auto& r) { r.prompt_token_ids.clear(); }, "prompt_token_ids is empty"},
        {"NegativeToken", [](auto& r) { r.prompt_token_ids[1] = -1; }, "prompt_token_ids[1] is -1"},
        {"UnknownToken", [](auto& r) { r.prompt_token_ids[2] = 100; },
         "prompt_token_ids[2] is 100; must be 0 to 99"},
        {"NothingToScore",
         [](auto& r) {
           r.score = true;
           r.max_new_tokens = 0;
           r.prompt_token_ids = {1};
         },
         "prompt_token_ids is one token, which follows nothing"},
        {"ScoreAndNegativeNewTokens",
         [](auto& r) {
           r.score = true;
           r.max_new_tokens = -1;
         },
         "max_new_tokens is -1; must be at least 0"},
        {"NoNewTokens", [](auto& r) { r.max_new_tokens = 0; }, "max_new_tokens is 0"},
        {"NegativeNewTokens", [](auto& r) { r.max_new_tokens = -1; }, "max_new_tokens is -1"},
        {"BeyondTheContext", [](auto& r) { r.max_new_tokens = 8; }, "max_new_tokens (8)"},
        {"HugeNewTokens", [](auto& r) { r.max_new_tokens = std::numeric_limits<int32_t>::max(); },
         "max_new_tokens (2147483647)"},
        {"UnknownEos",
         [](auto& r) {
           r.eos_token_ids = {1, 100};
         },
         "eos_token_ids[1] is 100"},
        {"TooManyEos", [](auto& r) { r.eos_token_ids.assign(kMaxEosTokenIds + 1, 1); },
         "eos_token_ids has 257"},
        {"LongSalt", [](auto& r) { r.cache_salt.assign(kMaxCacheSaltBytes + 1, 'x'); },
         "cache_salt has 257 bytes"},
        {"HighPriority", [](auto& r) { r.priority = 11; }, "priority is 11; must be -10 to 10"},
        {"LowPriority", [](auto& r) { r.priority = -11; }, "priority is -11"},
        {"LongTenant", [](auto& r) { r.tenant.assign(kMaxTenantBytes + 1, 'x'); },
         "tenant has 257 bytes"},
        {"NegativeTemperature", [](auto& r) { r.sampling.temperature = -0.1f; }, "temperature: "},
        {"HotTemperature", [](auto& r) { r.sampling.temperature = 101.0f; }, "temperature: 101"},
        {"NanTemperature", [](auto& r) { r.sampling.temperature = kNan; }, "temperature: "},
        {"InfiniteTemperature", [](auto& r) { r.sampling.temperature = kInfinity; },
         "temperature: inf"},
        {"NegativeTopK", [](auto& r) { r.sampling.top_k = -1; }, "top_k: -1"},
        {"ZeroTopP", [](auto& r) { r.sampling.top_p = 0.0f; }, "top_p: 0"},
        {"TopPAboveOne", [](auto& r) { r.sampling.top_p = 1.01f; }, "top_p: 1.01"},
        {"TopPJustAboveOne", [](auto& r) { r.sampling.top_p = std::nextafter(1.0f, 2.0f); },
         "top_p: 1.0000001 is not in (0, 1]"},
        {"TemperatureJustAbove100",
         [](auto& r) { r.sampling.temperature = std::nextafter(100.0f, 200.0f); },
         "temperature: 100.00001 is not in [0, 100]"},
        {"NanTopP", [](auto& r) { r.sampling.top_p = kNan; }, "top_p: "},
    }),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace phalanx
