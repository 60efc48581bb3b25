#include "worker/bench/thin_prompts.h"

#include <deque>
#include <string>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "worker/step/check_step.h"
#include "worker/step/testing/step_builder.h"

namespace phalanx {
namespace {

using ::testing::ElementsAre;

constexpr StepLimits kLimits = {
    .max_step_tokens = 8, .max_seqs = 4, .max_blocks_per_seq = 4, .kv_blocks = 16};
constexpr int kVocab = 100;

// Tokens that count up from `first`.
TestSequence Sequence(int first, int tokens, int slot) {
  TestSequence sequence = {.blocks = {4 * slot + 1, 4 * slot + 2, 4 * slot + 3}, .slot = slot};
  for (int i = 0; i < tokens; ++i) sequence.tokens.push_back(first + i);
  return sequence;
}

TEST(ThinStepTest, KeepsTheLastTokenOfEachSequence) {
  TestSequence prompt = Sequence(10, 40, 0);
  TestSequence decode = Sequence(60, 3, 1);
  decode.cached_tokens = 2;
  TestSequence other = Sequence(70, 20, 2);
  StepBuilder builder;
  builder.Add(prompt, 40);
  builder.Add(decode, 1);
  builder.Add(other, 17);  // Of 20: it draws nothing yet.

  const Step step = ThinStep(builder.Finish());

  const StepBlock::ConstArrays arrays = step.forward.arrays();
  EXPECT_THAT(arrays.token_ids, ElementsAre(49, 62, 86));
  EXPECT_THAT(arrays.positions, ElementsAre(39, 2, 16));
  EXPECT_THAT(arrays.seq_of_token, ElementsAre(0, 1, 2));
  EXPECT_THAT(arrays.query_starts, ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(arrays.kv_lengths, ElementsAre(40, 3, 17));
  EXPECT_THAT(arrays.slots, ElementsAre(0, 1, 2));
  EXPECT_THAT(step.sampling.arrays().logit_rows, ElementsAre(0, 1));
  EXPECT_THAT(step.sampling.arrays().logit_slots, ElementsAre(0, 1));
}

TEST(ThinStepTest, RanksTakeItForAnyOtherStep) {
  TestSequence prompt = Sequence(10, 40, 0);
  StepChecker checker(kLimits, kVocab, 1);
  StepBuilder builder;
  // More tokens than a step may have, and no more than its blocks hold.
  builder.Add(prompt, 30);
  EXPECT_TRUE(checker.Check(ThinStep(builder.Finish())).ok());
  builder.Add(prompt, 10);
  EXPECT_TRUE(checker.Check(ThinStep(builder.Finish())).ok());
  prompt.tokens.push_back(kernels::kLastToken);
  builder.Add(prompt, 1);
  const absl::Status status = checker.Check(ThinStep(builder.Finish()));
  EXPECT_TRUE(status.ok()) << status;
}

TEST(ThinStepTest, ADecodeStaysAsItIs) {
  TestSequence decode = Sequence(60, 3, 1);
  decode.cached_tokens = 2;
  StepBuilder builder;
  builder.Add(decode, 1);
  Step step = builder.Finish();
  const std::string before(step.forward.bytes());
  EXPECT_EQ(ThinStep(std::move(step)).forward.bytes(), before);
}

class RecordingExecutor final : public StepExecutor {
 public:
  absl::Status Submit(Step step) override {
    tokens.push_back(step.forward.counts().num_tokens);
    return absl::OkStatus();
  }
  absl::StatusOr<StepResult> Await() override { return StepResult{.tokens = {5}}; }

  std::deque<int> tokens;
};

TEST(PromptThinnerTest, ThinsOnlyWhenTold) {
  RecordingExecutor executor;
  PromptThinner thinner(&executor);
  StepBuilder builder;
  TestSequence first = Sequence(10, 6, 0);
  builder.Add(first, 6);
  ASSERT_TRUE(thinner.Submit(builder.Finish()).ok());
  thinner.set_thin(true);
  TestSequence second = Sequence(10, 6, 1);
  builder.Add(second, 6);
  ASSERT_TRUE(thinner.Submit(builder.Finish()).ok());
  EXPECT_THAT(executor.tokens, ElementsAre(6, 1));
  EXPECT_THAT(thinner.Await()->tokens, ElementsAre(5));
}

}  // namespace
}  // namespace phalanx
