#include "coordinator/routing/check_event.h"

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace phalanx {
namespace {

constexpr int kVocab = 10;

TEST(CheckEventTest, TakesTokensOfTheVocabulary) {
  const std::vector<int32_t> ids = {0, 9, 0};
  EXPECT_TRUE(CheckEvent({.token_ids = ids}, /*score=*/false, kVocab).ok());
}

TEST(CheckEventTest, RefusesTokensOutsideTheVocabulary) {
  for (const int32_t id : {-1, 10, std::numeric_limits<int32_t>::min()}) {
    const std::vector<int32_t> ids = {3, id};
    EXPECT_EQ(CheckEvent({.token_ids = ids}, /*score=*/false, kVocab),
              absl::InternalError("the worker group sent token " + std::to_string(id) +
                                  ", the vocabulary has 10"));
  }
}

TEST(CheckEventTest, TakesLogarithmsOfProbabilities) {
  // The logarithm of a probability of 1 may come out slightly above 0.
  const std::vector<float> log_probs = {0.0f, -1.5f, 1e-6f, std::numeric_limits<float>::lowest()};
  EXPECT_TRUE(CheckEvent({.log_probs = log_probs}, /*score=*/true, kVocab).ok());
}

TEST(CheckEventTest, RefusesWhatIsNoLogarithmOfAProbability) {
  for (const float bad : {0.5f, std::nanf(""), std::numeric_limits<float>::infinity(),
                          -std::numeric_limits<float>::infinity()}) {
    const std::vector<float> log_probs = {-1.0f, bad};
    EXPECT_EQ(CheckEvent({.log_probs = log_probs}, /*score=*/true, kVocab).code(),
              absl::StatusCode::kInternal)
        << bad;
  }
}

TEST(CheckEventTest, RefusesTheAnswerToAnotherKindOfRequest) {
  const std::vector<int32_t> ids = {1};
  const std::vector<float> log_probs = {-1.0f};
  EXPECT_EQ(CheckEvent({.token_ids = ids}, /*score=*/true, kVocab).code(),
            absl::StatusCode::kInternal);
  EXPECT_EQ(CheckEvent({.log_probs = log_probs}, /*score=*/false, kVocab).code(),
            absl::StatusCode::kInternal);
}

TEST(CheckEventTest, RefusesTheEndOfAnotherKindOfRequest) {
  using Reason = EngineFinish::Reason;
  for (const Reason reason : {Reason::kEos, Reason::kLength, Reason::kScored}) {
    const EngineEvent end = {.finished = EngineFinish{.reason = reason}};
    const bool scored = reason == Reason::kScored;
    EXPECT_TRUE(CheckEvent(end, scored, kVocab).ok());
    EXPECT_EQ(CheckEvent(end, !scored, kVocab).code(), absl::StatusCode::kInternal);
  }
}

}  // namespace
}  // namespace phalanx
