#include "coordinator/routing/check_event.h"

#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace phalanx {
namespace {

constexpr int kVocab = 10;
constexpr ExpectedEvents kGenerates = {.max_new_tokens = 100};
constexpr ExpectedEvents kScores = {.score = true};

TEST(CheckEventTest, TakesTokensOfTheVocabulary) {
  const std::vector<int32_t> ids = {0, 9, 0};
  EXPECT_TRUE(CheckEvent({.token_ids = ids}, kGenerates, kVocab).ok());
}

TEST(CheckEventTest, RefusesTokensOutsideTheVocabulary) {
  for (const int32_t id : {-1, 10, std::numeric_limits<int32_t>::min()}) {
    const std::vector<int32_t> ids = {3, id};
    EXPECT_EQ(CheckEvent({.token_ids = ids}, kGenerates, kVocab),
              absl::InternalError("the worker group sent token " + std::to_string(id) +
                                  ", the vocabulary has 10"));
  }
}

TEST(CheckEventTest, TakesLogarithmsOfProbabilities) {
  // The logarithm of a probability of 1 may come out slightly above 0.
  const std::vector<float> log_probs = {0.0f, -1.5f, 1e-6f, std::numeric_limits<float>::lowest()};
  EXPECT_TRUE(CheckEvent({.log_probs = log_probs}, kScores, kVocab).ok());
}

TEST(CheckEventTest, RefusesWhatIsNoLogarithmOfAProbability) {
  for (const float bad : {0.5f, std::nanf(""), std::numeric_limits<float>::infinity(),
                          -std::numeric_limits<float>::infinity()}) {
    const std::vector<float> log_probs = {-1.0f, bad};
    EXPECT_EQ(CheckEvent({.log_probs = log_probs}, kScores, kVocab).code(),
              absl::StatusCode::kInternal)
        << bad;
  }
}

TEST(CheckEventTest, RefusesTheAnswerToAnotherKindOfRequest) {
  const std::vector<int32_t> ids = {1};
  const std::vector<float> log_probs = {-1.0f};
  EXPECT_EQ(CheckEvent({.token_ids = ids}, kScores, kVocab).code(), absl::StatusCode::kInternal);
  EXPECT_EQ(CheckEvent({.log_probs = log_probs}, kGenerates, kVocab).code(),
            absl::StatusCode::kInternal);
}

TEST(CheckEventTest, RefusesTheEndOfAnotherKindOfRequest) {
  using Reason = EngineFinish::Reason;
  for (const Reason reason :
       {Reason::kEos, Reason::kLength, Reason::kScored, Reason::kRepetition}) {
    const EngineEvent end = {.finished = EngineFinish{.reason = reason}};
    const bool scored = reason == Reason::kScored;
    EXPECT_TRUE(CheckEvent(end, scored ? kScores : kGenerates, kVocab).ok());
    EXPECT_EQ(CheckEvent(end, scored ? kGenerates : kScores, kVocab).code(),
              absl::StatusCode::kInternal);
  }
}

TEST(CheckEventTest, RefusesGapsAndRepeatsAndTooManyTokens) {
  const std::vector<int32_t> ids = {1, 2, 3};
  const ExpectedEvents expected = {.max_new_tokens = 8, .tokens = 5};
  EXPECT_TRUE(CheckEvent({.first_token_index = 5, .token_ids = ids}, expected, kVocab).ok());
  EXPECT_EQ(CheckEvent({.first_token_index = 6, .token_ids = ids}, expected, kVocab),
            absl::InternalError("the worker group sent token number 6 where number 5 is the next"));
  EXPECT_EQ(CheckEvent({.first_token_index = 4, .token_ids = ids}, expected, kVocab).code(),
            absl::StatusCode::kInternal);
  const ExpectedEvents shorter = {.max_new_tokens = 7, .tokens = 5};
  EXPECT_EQ(CheckEvent({.first_token_index = 5, .token_ids = ids}, shorter, kVocab),
            absl::InternalError("the worker group sent 8 tokens where 7 are the most"));
  // An event without tokens says nothing about them.
  EXPECT_TRUE(CheckEvent({.started = true}, expected, kVocab).ok());
}

TEST(CheckEventTest, ARequestMayBeScoredAndGenerate) {
  const ExpectedEvents both = {.score = true, .max_new_tokens = 4};
  const std::vector<int32_t> ids = {1};
  const std::vector<float> log_probs = {-1.0f};
  EXPECT_TRUE(CheckEvent({.token_ids = ids, .log_probs = log_probs}, both, kVocab).ok());
  EXPECT_TRUE(
      CheckEvent({.finished = EngineFinish{.reason = EngineFinish::Reason::kEos}}, both, kVocab)
          .ok());
}

TEST(CheckEventTest, EachTokenHasItsLogProbIfTheyAreWantedAndNoneElse) {
  const std::vector<int32_t> ids = {1, 2};
  const ExpectedEvents wanted = {.log_probs = true, .max_new_tokens = 9};
  const auto check = [&](std::vector<TokenLogProbs> told, const ExpectedEvents& expected) {
    return CheckEvent({.token_ids = ids, .token_log_probs = std::move(told)}, expected, kVocab)
        .code();
  };
  const TokenLogProbs good = {.log_prob = -1.0f, .top = {{3, -0.5f}}};
  EXPECT_EQ(check({good, good}, wanted), absl::StatusCode::kOk);
  EXPECT_EQ(check({good}, wanted), absl::StatusCode::kInternal);
  EXPECT_EQ(check({good, good}, kGenerates), absl::StatusCode::kInternal);
  EXPECT_EQ(check({good, {.log_prob = 1.0f}}, wanted), absl::StatusCode::kInternal);
  EXPECT_EQ(check({good, {.log_prob = -1.0f, .top = {{kVocab, -1.0f}}}}, wanted),
            absl::StatusCode::kInternal);
  EXPECT_EQ(check({good, {.log_prob = -1.0f, .top = {{1, std::nanf("")}}}}, wanted),
            absl::StatusCode::kInternal);
}

}  // namespace
}  // namespace phalanx
