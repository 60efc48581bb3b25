#include "worker/model/check_step.h"

#include <cmath>
#include <functional>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

using testing::HasSubstr;

constexpr int kVocab = 100;
constexpr StepLimits kLimits = {
    .max_step_tokens = 8, .max_seqs = 3, .max_blocks_per_seq = 4, .kv_blocks = 10};

// A prompt's first three tokens and the 21st of another sequence.
StepInput Good() {
  StepInput input;
  input.token_ids = {5, 6, 7, 99};
  input.positions = {0, 1, 2, 20};
  input.query_starts = {0, 3, 4};
  input.kv_lengths = {3, 21};
  input.block_tables = {9, 0, 4, 2};
  input.max_blocks_per_seq = 2;
  input.logit_rows = {2, 3};
  input.sampling.resize(2);
  return input;
}

TEST(CheckStepTest, AGoodPlanPasses) {
  EXPECT_TRUE(CheckStepInput(Good(), kLimits, kVocab, 1, /*samples=*/true).ok());
  StepInput without_sampling = Good();
  without_sampling.sampling.clear();
  EXPECT_TRUE(CheckStepInput(without_sampling, kLimits, kVocab, 1, /*samples=*/false).ok());
  EXPECT_FALSE(CheckStepInput(without_sampling, kLimits, kVocab, 1, /*samples=*/true).ok());
}

TEST(CheckStepTest, ContextMayFillItsBlocksAndNoMore) {
  StepInput input = Good();
  input.positions[3] = 31;
  input.kv_lengths[1] = 32;
  EXPECT_TRUE(CheckStepInput(input, kLimits, kVocab, 1, true).ok());
  input.positions[3] = 32;
  input.kv_lengths[1] = 33;
  EXPECT_FALSE(CheckStepInput(input, kLimits, kVocab, 1, true).ok());
}

struct BadPlan {
  std::string what;
  std::function<void(StepInput&)> spoil;
  std::string named;
};

class BadPlanTest : public testing::TestWithParam<BadPlan> {};

TEST_P(BadPlanTest, IsInternalAndNamesTheArray) {
  StepInput input = Good();
  GetParam().spoil(input);
  const absl::Status status = CheckStepInput(input, kLimits, kVocab, 1, true);
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(status.message()), HasSubstr(GetParam().named));
}

INSTANTIATE_TEST_SUITE_P(
    All, BadPlanTest,
    testing::Values(
        BadPlan{"Empty", [](StepInput& in) { in = {}; }, "token_ids"},
        BadPlan{"TooManyTokens", [](StepInput& in) { in.token_ids.resize(9); }, "9 token_ids"},
        BadPlan{"TooManySequences", [](StepInput& in) { in.kv_lengths.resize(4); }, "4 kv_lengths"},
        BadPlan{"TooManyRows",
                [](StepInput& in) {
                  in.logit_rows = {0, 1, 2, 3};
                },
                "4 logit_rows"},
        BadPlan{"PositionMissing", [](StepInput& in) { in.positions.pop_back(); }, "positions"},
        BadPlan{"StartMissing", [](StepInput& in) { in.query_starts.pop_back(); }, "query_starts"},
        BadPlan{"BlockMissing", [](StepInput& in) { in.block_tables.pop_back(); }, "block_tables"},
        BadPlan{"SamplingMissing", [](StepInput& in) { in.sampling.pop_back(); }, "sampling"},
        BadPlan{"TooManyBlocks", [](StepInput& in) { in.max_blocks_per_seq = 5; },
                "max_blocks_per_seq 5"},
        BadPlan{"NegativeBlocks", [](StepInput& in) { in.max_blocks_per_seq = -1; },
                "max_blocks_per_seq -1"},
        BadPlan{"StartAboveZero", [](StepInput& in) { in.query_starts[0] = 1; }, "query_starts"},
        BadPlan{"EndBeforeTheLastToken", [](StepInput& in) { in.query_starts[2] = 3; },
                "query_starts"},
        BadPlan{"SequenceWithoutTokens", [](StepInput& in) { in.query_starts[1] = 0; },
                "query_starts[1]"},
        BadPlan{"StartPastTheTokens", [](StepInput& in) { in.query_starts[1] = 1000; },
                "query_starts[1]"},
        BadPlan{"LengthBelowNewTokens", [](StepInput& in) { in.kv_lengths[0] = 2; },
                "kv_lengths[0]"},
        BadPlan{"PositionOffTheEnd", [](StepInput& in) { in.positions[3] = 21; }, "positions[3]"},
        BadPlan{"PositionsOutOfOrder", [](StepInput& in) { in.positions[0] = 1; }, "positions[0]"},
        BadPlan{"BlockOutsideTheArena", [](StepInput& in) { in.block_tables[3] = 10; }, "holds 10"},
        BadPlan{"NegativeBlock", [](StepInput& in) { in.block_tables[0] = -1; }, "holds -1"},
        BadPlan{"TokenOutsideTheVocabulary", [](StepInput& in) { in.token_ids[1] = kVocab; },
                "token_ids[1]"},
        BadPlan{"NegativeToken", [](StepInput& in) { in.token_ids[1] = -1; }, "token_ids[1]"},
        BadPlan{"RowTwice",
                [](StepInput& in) {
                  in.logit_rows = {2, 2};
                },
                "logit_rows"},
        BadPlan{"RowPastTheTokens",
                [](StepInput& in) {
                  in.logit_rows = {2, 4};
                },
                "logit_rows"},
        BadPlan{"NegativeRow",
                [](StepInput& in) {
                  in.logit_rows = {-1, 2};
                },
                "logit_rows"},
        BadPlan{"TemperatureThatIsNoNumber",
                [](StepInput& in) { in.sampling[1].temperature = NAN; }, "sampling[1]"},
        BadPlan{"TopPOfZero", [](StepInput& in) { in.sampling[0].top_p = 0; }, "sampling[0]"},
        BadPlan{"NegativeTopK", [](StepInput& in) { in.sampling[0].top_k = -1; }, "sampling[0]"}),
    [](const auto& info) { return info.param.what; });

}  // namespace
}  // namespace phalanx
