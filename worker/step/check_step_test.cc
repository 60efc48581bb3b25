#include "worker/step/check_step.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "worker/step/testing/step_builder.h"

namespace phalanx {
namespace {

using testing::HasSubstr;

using kernels::kLastToken;

constexpr int kVocab = 100;
constexpr int kRopeLists = 2;
constexpr StepLimits kLimits = {
    .max_step_tokens = 8, .max_seqs = 3, .max_blocks_per_seq = 4, .kv_blocks = 10};

class CheckStepTest : public testing::Test {
 protected:
  // The first 20 tokens of a sequence that Good() goes on with; no logits of them are wanted.
  CheckStepTest() {
    decoding_.tokens.assign(20, 8);
    decoding_.tokens.push_back(99);
    decoding_.blocks = {4, 2};
    decoding_.slot = 2;
    while (decoding_.cached_tokens < 20) {
      StepBuilder builder;
      builder.Add(decoding_, std::min(8, 20 - decoding_.cached_tokens));
      const absl::Status status = checker_.Check(builder.Finish());
      EXPECT_TRUE(status.ok()) << status;
    }
  }

  // A prompt of three tokens and the 21st token of the other sequence, whose score is wanted too.
  Step Good() {
    TestSequence prompt{.tokens = {5, 6, 7}, .blocks = {9}, .slot = 1};
    TestSequence decoding = decoding_;
    StepBuilder builder;
    builder.Add(prompt, 3);
    builder.Adjust({{.token = 3, .bias = 1.0f}, {.token = 50, .seen = 1}},
                   std::vector<uint32_t>(kernels::MaskWords(kVocab), ~uint32_t{0}));
    builder.Add(decoding, 1);
    builder.Score(3, 7);
    return builder.Finish();
  }

  // The next token of the sequence, which Good() draws.
  Step AfterGood(int32_t token) {
    decoding_.cached_tokens = 21;
    decoding_.tokens.push_back(token);
    StepBuilder builder;
    builder.Add(decoding_, 1);
    return builder.Finish();
  }

  TestSequence decoding_;
  StepChecker checker_{kLimits, kVocab, kRopeLists};
};

TEST_F(CheckStepTest, GoodStepsPass) {
  EXPECT_TRUE(checker_.Check(Good()).ok());
  EXPECT_TRUE(checker_.Check(AfterGood(3)).ok());
}

TEST_F(CheckStepTest, ATokenMayBeUnknownIfTheSlotHasDrawnOne) {
  Step early = Good();
  early.forward.arrays().token_ids[3] = kLastToken;
  EXPECT_THAT(checker_.Check(early).ToString(), HasSubstr("token_ids[3]"));
  EXPECT_TRUE(checker_.Check(Good()).ok());
  EXPECT_TRUE(checker_.Check(AfterGood(kLastToken)).ok());
}

TEST_F(CheckStepTest, OnlyTheLastTokenOfASequenceMayBeUnknown) {
  ASSERT_TRUE(checker_.Check(Good()).ok());
  decoding_.cached_tokens = 21;
  decoding_.tokens.insert(decoding_.tokens.end(), {kLastToken, 5});
  StepBuilder builder;
  builder.Add(decoding_, 2);
  EXPECT_THAT(checker_.Check(builder.Finish()).ToString(), HasSubstr("token_ids[0]"));
}

TEST_F(CheckStepTest, AfterSeveralDrawsForASlotItsTokenMustBeKnown) {
  ASSERT_TRUE(checker_.Check(Good()).ok());
  decoding_.cached_tokens = 21;
  decoding_.tokens.insert(decoding_.tokens.end(), {5, 6});
  StepBuilder builder;
  builder.Add(decoding_, 2);
  builder.WantAllLogits();
  ASSERT_TRUE(checker_.Check(builder.Finish()).ok());
  const auto next = [this](int32_t token) {
    TestSequence sequence = decoding_;
    sequence.tokens.push_back(token);
    StepBuilder builder;
    builder.Add(sequence, 1);
    return builder.Finish();
  };
  EXPECT_THAT(checker_.Check(next(kLastToken)).ToString(), HasSubstr("token_ids[0]"));
  EXPECT_TRUE(checker_.Check(next(5)).ok());
}

TEST_F(CheckStepTest, ASequenceThatTakesASlotKnowsNothingOfTheOneBefore) {
  ASSERT_TRUE(checker_.Check(Good()).ok());
  TestSequence newcomer{.tokens = {5, kLastToken}, .blocks = {3}, .slot = 2};
  StepBuilder builder;
  builder.Add(newcomer, 2);
  EXPECT_THAT(checker_.Check(builder.Finish()).ToString(), HasSubstr("token_ids[1]"));
  TestSequence too_long{.tokens = std::vector<int32_t>(21, 1), .blocks = {3, 5}, .slot = 2};
  too_long.cached_tokens = 20;
  builder.Add(too_long, 1);
  Step step = builder.Finish();
  // Only the first block is told; the second one is still that of the sequence before.
  step.forward.arrays().table_entries[1] = {.slot = 1, .index = 0, .block = 5};
  EXPECT_THAT(checker_.Check(step).ToString(), HasSubstr("kv_lengths[0]"));
}

// As after a draft that was wrong: others may have its blocks by now.
TEST_F(CheckStepTest, AnEntryComesAgainWithAllTokensInItOnly) {
  ASSERT_TRUE(checker_.Check(Good()).ok());
  const auto again_from = [](int position) {
    TestSequence sequence = {.tokens = std::vector<int32_t>(22, 8),
                             .cached_tokens = position,
                             .blocks = {4, 7},
                             .slot = 2,
                             .blocks_told = 1};
    StepBuilder builder;
    builder.Add(sequence, 22 - position);
    return builder.Finish();
  };
  EXPECT_THAT(checker_.Check(again_from(17)).ToString(),
              HasSubstr("entry 1 of slot 2 comes again"));
  EXPECT_TRUE(checker_.Check(again_from(16)).ok());
}

TEST_F(CheckStepTest, ARefusedStepLeavesNothingBehind) {
  Step bad = Good();
  bad.sampling.arrays().logit_rows[1] = 4;
  EXPECT_FALSE(checker_.Check(bad).ok());
  EXPECT_TRUE(checker_.Check(Good()).ok());
}

TEST_F(CheckStepTest, TheTwoPartsOfAStepTakeTurns) {
  const Step good = Good();
  EXPECT_THAT(checker_.CheckSampling(good.sampling).ToString(), HasSubstr("without a forward"));
  EXPECT_TRUE(checker_.CheckForward(good.forward).ok());
  EXPECT_THAT(checker_.CheckForward(good.forward).ToString(), HasSubstr("is missing"));
  EXPECT_TRUE(checker_.CheckSampling(good.sampling).ok());
  EXPECT_THAT(checker_.CheckSampling(good.sampling).ToString(), HasSubstr("without a forward"));
}

TEST_F(CheckStepTest, ARefusedSamplingPartMayComeAgain) {
  Step step = Good();
  ASSERT_TRUE(checker_.CheckForward(step.forward).ok());
  step.sampling.arrays().logit_slots[0] = 2;
  EXPECT_FALSE(checker_.CheckSampling(step.sampling).ok());
  EXPECT_TRUE(checker_.CheckSampling(Good().sampling).ok());
  EXPECT_TRUE(checker_.Check(AfterGood(kLastToken)).ok());
}

// As if its sequence had been removed while the forward part ran.
TEST_F(CheckStepTest, ASequenceWithoutARowHasNoTokenToName) {
  const Step good = Good();
  ASSERT_TRUE(checker_.CheckForward(good.forward).ok());
  ASSERT_TRUE(checker_.CheckSampling(SamplingBlock()).ok());
  EXPECT_THAT(checker_.Check(AfterGood(kLastToken)).ToString(), HasSubstr("token_ids[0]"));
}

TEST_F(CheckStepTest, AContextMayFillItsBlocksAndNoMore) {
  ASSERT_TRUE(checker_.Check(Good()).ok());
  for (int tokens = 22; tokens <= 33; ++tokens) {
    Step step = AfterGood(1);
    step.forward.arrays().kv_lengths[0] = tokens;
    step.forward.arrays().positions[0] = tokens - 1;
    EXPECT_EQ(checker_.Check(step).ok(), tokens <= 32) << tokens;
  }
}

TEST_F(CheckStepTest, CountsBeyondTheLimitsAreRefused) {
  const auto forward = [&](const kernels::StepCounts& counts) {
    return checker_.CheckForward(StepBlock(counts)).ToString();
  };
  EXPECT_THAT(forward({}), HasSubstr("0 tokens"));
  EXPECT_THAT(forward({.num_tokens = 9, .num_seqs = 1}), HasSubstr("9 tokens"));
  EXPECT_THAT(forward({.num_tokens = 1}), HasSubstr("0 sequences"));
  EXPECT_THAT(forward({.num_tokens = 8, .num_seqs = 4}), HasSubstr("4 sequences"));
  EXPECT_THAT(forward({.num_tokens = 1, .num_seqs = 1, .num_table_entries = 13}),
              HasSubstr("13 table_entries"));
  ASSERT_TRUE(checker_.CheckForward(Good().forward).ok());
  const auto sampling = [&](const kernels::SamplingCounts& counts) {
    return checker_.CheckSampling(SamplingBlock(counts)).ToString();
  };
  EXPECT_THAT(sampling({.num_logit_rows = 4}), HasSubstr("4 logit_rows"));
  EXPECT_THAT(sampling({.num_score_rows = 9}), HasSubstr("9 score_rows"));
  EXPECT_THAT(sampling({.num_edits = kMaxStepEdits + 1}), HasSubstr("262145 edits"));
  const auto words = static_cast<int32_t>(3 * kernels::MaskWords(kVocab) + 1);
  EXPECT_THAT(sampling({.num_mask_words = words}), HasSubstr("mask_words"));
}

struct BadStep {
  std::string what;
  std::function<void(StepBlock::Arrays&, SamplingBlock::Arrays&)> spoil;
  std::string named;
};

class BadStepTest : public CheckStepTest, public testing::WithParamInterface<BadStep> {};

TEST_P(BadStepTest, IsInternalAndNamesTheArray) {
  Step step = Good();
  StepBlock::Arrays forward = step.forward.arrays();
  SamplingBlock::Arrays sampling = step.sampling.arrays();
  GetParam().spoil(forward, sampling);
  const absl::Status status = checker_.Check(step);
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(status.message()), HasSubstr(GetParam().named));
}

#define BAD_STEP(what, named, ...)                        \
  BadStep {                                               \
    what, [](auto& in, auto& out) { __VA_ARGS__; }, named \
  }

INSTANTIATE_TEST_SUITE_P(
    All, BadStepTest,
    testing::Values(
        BAD_STEP("StartAboveZero", "query_starts", in.query_starts[0] = 1),
        BAD_STEP("EndBeforeTheLastToken", "query_starts", in.query_starts[2] = 3),
        BAD_STEP("SequenceWithoutTokens", "query_starts[1]", in.query_starts[1] = 0),
        BAD_STEP("StartPastTheTokens", "query_starts[1]", in.query_starts[1] = 1000),
        BAD_STEP("LengthBelowNewTokens", "kv_lengths[0]", in.kv_lengths[0] = 2),
        BAD_STEP("PositionOffTheEnd", "positions[3]", in.positions[3] = 21),
        BAD_STEP("PositionsOutOfOrder", "positions[0]", in.positions[0] = 1),
        BAD_STEP("TokenOfAnotherSequence", "seq_of_token[2]", in.seq_of_token[2] = 1),
        BAD_STEP("TokenOfNoSequence", "seq_of_token[0]", in.seq_of_token[0] = -1),
        BAD_STEP("SlotOutsideTheTable", "slots[0]", in.slots[0] = 3),
        BAD_STEP("NegativeSlot", "slots[1]", in.slots[1] = -1),
        BAD_STEP("SlotTwice", "slot 2 has two sequences", in.slots[0] = 2; in.kv_lengths[0] = 3),
        BAD_STEP("NoSuchRopeList", "rope_lists[1]", in.rope_lists[1] = kRopeLists),
        BAD_STEP("NegativeRopeList", "rope_lists[0]", in.rope_lists[0] = -1),
        BAD_STEP("TableOfNoSlot", "table_entries.slot[0]", in.table_entries[0].slot = 3),
        BAD_STEP("BlockOutsideTheArena", "table_entries.block[0] is 11",
                 in.table_entries[0].block = 11),
        BAD_STEP("ThePaddingBlock", "table_entries.block[0] is 0", in.table_entries[0].block = 0),
        BAD_STEP("EntryOutsideTheTable", "table_entries.index[0]", in.table_entries[0].index = 4),
        BAD_STEP("EntryThatLeavesAGap", "sets entry 1 of slot 1, which has 0",
                 in.table_entries[0].index = 1),
        BAD_STEP("TokenOutsideTheVocabulary", "token_ids[1]", in.token_ids[1] = kVocab),
        BAD_STEP("NegativeToken", "token_ids[1]", in.token_ids[1] = -2),
        BAD_STEP("RowTwice", "logit_rows", out.logit_rows[0] = 3),
        BAD_STEP("RowPastTheTokens", "logit_rows", out.logit_rows[1] = 4),
        BAD_STEP("NegativeRow", "logit_rows", out.logit_rows[0] = -1),
        BAD_STEP("SlotOfAnotherSequence", "logit_slots[0]", out.logit_slots[0] = 2),
        BAD_STEP("ScoreRowPastTheTokens", "score_rows", out.score_rows[0] = 4),
        BAD_STEP("ScoreOfNoToken", "score_targets[0]", out.score_targets[0] = kVocab),
        BAD_STEP("TemperatureThatIsNoNumber", "sampling[1]", out.sampling[1].temperature = NAN),
        BAD_STEP("TopPOfZero", "sampling[0]", out.sampling[0].top_p = 0),
        BAD_STEP("RepetitionPenaltyOfZero", "repetition_penalty",
                 out.sampling[0].repetition_penalty = 0),
        BAD_STEP("ForcedTokenOutsideTheVocabulary", "sampling.forced[1]",
                 out.sampling[1].forced = kVocab),
        BAD_STEP("TooManyLogProbs", "sampling.log_probs[0]", out.sampling[0].log_probs = 21),
        BAD_STEP("EditsPastTheirEnd", "edits", out.sampling[0].edits_end = 3),
        BAD_STEP("EditsThatEndBeforeTheyBegin", "edits", out.sampling[0].edits_begin = 2;
                 out.sampling[0].edits_end = 1),
        BAD_STEP("EditsOutOfOrder", "edits[1]", out.edits[1].token = 0;
                 out.sampling[0].edits_end = 2),
        BAD_STEP("EditOutsideTheVocabulary", "edits[1]", out.edits[1].token = kVocab;
                 out.sampling[0].edits_end = 2),
        BAD_STEP("MaskPastItsWords", "mask_begin", out.sampling[0].mask_begin = 1),
        BAD_STEP("NegativeMask", "mask_begin", out.sampling[0].mask_begin = -2),
        BAD_STEP("NegativeTopK", "sampling[0]", out.sampling[0].top_k = -1)),
    [](const auto& info) { return info.param.what; });

#undef BAD_STEP

}  // namespace
}  // namespace phalanx
