#include "model/generation/engine_features.h"

#include <algorithm>
#include <set>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

TEST(EngineFeaturesTest, AreInOrderAndDiffer) {
  const auto features = EngineFeatures();
  EXPECT_TRUE(std::is_sorted(features.begin(), features.end()));
  EXPECT_EQ(std::set<std::string>(features.begin(), features.end()).size(), features.size());
}

TEST(FeaturesNeededTest, PlainGenerationNeedsNone) {
  EXPECT_THAT(FeaturesNeeded({}, {}), IsEmpty());
  EXPECT_THAT(FeaturesNeeded({}, {.temperature = 1.0f, .top_k = 5, .top_p = 0.5f}), IsEmpty());
}

TEST(FeaturesNeededTest, FollowTheFieldsThatAreSet) {
  EXPECT_THAT(FeaturesNeeded({.log_probs = 0}, {}), ElementsAre("log_probs"));
  EXPECT_THAT(FeaturesNeeded({}, {.frequency_penalty = 0.5f}), ElementsAre("penalties"));
  EXPECT_THAT(FeaturesNeeded({.logit_bias = {{}},
                              .min_new_tokens = 1,
                              .repetition_limit = RepetitionLimit{},
                              .reasoning_limit = ReasoningLimit{},
                              .max_draft_tokens = 1},
                             {.repetition_penalty = 1.1f}),
              UnorderedElementsAre("logit_bias", "min_new_tokens", "repetition_limit",
                                   "max_reasoning_tokens", "speculation", "penalties"));
}

}  // namespace
}  // namespace phalanx
