#include "coordinator/server/answer_buffer.h"

#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

using ::testing::ElementsAre;

v1::Started Started() {
  v1::Started started;
  started.set_request_id("id");
  return started;
}

TEST(AnswerBufferTest, HandsNothingOutBeforeTheStart) {
  AnswerBuffer buffer;
  EXPECT_FALSE(buffer.Take().has_value());
  buffer.Start(Started());
  buffer.Append(0, {1}, "a");
  EXPECT_EQ(buffer.Take()->started().request_id(), "id");
  EXPECT_EQ(buffer.Take()->delta().text(), "a");
  EXPECT_FALSE(buffer.Take().has_value());
}

TEST(AnswerBufferTest, JoinsWhatWasNotTakenAndNumbersWhatWas) {
  AnswerBuffer buffer;
  buffer.Start(Started());
  buffer.Take();
  buffer.Append(0, {1}, "a");
  EXPECT_EQ(buffer.Take()->delta().sequence(), 0u);
  buffer.Append(0, {2}, "");
  buffer.Append(0, {3, 4}, "bc");
  const v1::Delta delta = buffer.Take()->delta();
  EXPECT_EQ(delta.sequence(), 1u);
  EXPECT_THAT(delta.token_ids(), ElementsAre(2, 3, 4));
  EXPECT_EQ(delta.text(), "bc");
}

TEST(AnswerBufferTest, KeepsTheChannelsApart) {
  AnswerBuffer buffer;
  buffer.Start(Started());
  buffer.Take();
  buffer.Append(0, {1}, "", "hm");
  buffer.Append(0, {2}, "yes", "!");
  EXPECT_EQ(buffer.buffered_bytes(), 12);
  const v1::Delta delta = buffer.Take()->delta();
  EXPECT_EQ(delta.reasoning_text(), "hm!");
  EXPECT_EQ(delta.text(), "yes");
}

TEST(AnswerBufferTest, LogProbsGoWithTheirTokensAndCountAsBytes) {
  AnswerBuffer buffer;
  buffer.Start(Started());
  buffer.Take();
  buffer.Append(0, {1}, "a");
  const int64_t without = buffer.buffered_bytes();
  const std::vector<TokenLogProbs> log_probs = {
      {.log_prob = -0.5f, .top = {{1, -0.5f}, {9, -2.0f}}}};
  buffer.AppendLogProbs(0, log_probs);
  EXPECT_GT(buffer.buffered_bytes(), without);
  const v1::Delta delta = buffer.Take()->delta();
  ASSERT_EQ(delta.log_probs_size(), 1);
  EXPECT_EQ(delta.log_probs(0).log_prob(), -0.5f);
  ASSERT_EQ(delta.log_probs(0).top_size(), 2);
  EXPECT_EQ(delta.log_probs(0).top(1).token_id(), 9);
  EXPECT_EQ(delta.log_probs(0).top(1).log_prob(), -2.0f);
  EXPECT_EQ(buffer.buffered_bytes(), 0);
}

TEST(AnswerBufferTest, ThePromptsLogProbsComeFirstAndAreNumbered) {
  AnswerBuffer buffer;
  buffer.Start(Started());
  buffer.Append(0, {1}, "a");
  buffer.AppendPromptLogProbs({-1.0f, -2.0f});
  EXPECT_TRUE(buffer.Take()->has_started());
  const v1::PromptLogProbs first = buffer.Take()->prompt_log_probs();
  EXPECT_EQ(first.position(), 1);
  EXPECT_THAT(first.log_probs(), ElementsAre(-1.0f, -2.0f));
  buffer.AppendPromptLogProbs({-3.0f});
  EXPECT_EQ(buffer.Take()->prompt_log_probs().position(), 3);
  EXPECT_TRUE(buffer.Take()->has_delta());
  EXPECT_EQ(buffer.buffered_bytes(), 0);
}

TEST(AnswerBufferTest, FinishesAfterEverythingElse) {
  AnswerBuffer buffer;
  buffer.Start(Started());
  buffer.Append(0, {1}, "a");
  v1::Finished finished;
  finished.set_reason(v1::FINISH_REASON_STOP);
  buffer.Finish(0, finished);
  EXPECT_TRUE(buffer.Take()->has_started());
  EXPECT_TRUE(buffer.Take()->has_delta());
  EXPECT_FALSE(buffer.all_taken());
  EXPECT_EQ(buffer.Take()->finished().reason(), v1::FINISH_REASON_STOP);
  EXPECT_TRUE(buffer.all_taken());
  EXPECT_FALSE(buffer.Take().has_value());
}

TEST(AnswerBufferTest, CountsWhatWaits) {
  AnswerBuffer buffer;
  buffer.Start(Started());
  buffer.Append(0, {1, 2}, "four");
  EXPECT_EQ(buffer.buffered_bytes(), 10);
  buffer.Take();
  buffer.Take();
  EXPECT_EQ(buffer.buffered_bytes(), 0);
}

TEST(AnswerBufferTest, ChoicesTakeTurnsAndHaveOneSequence) {
  AnswerBuffer buffer;
  buffer.Start(Started(), 3);
  buffer.Take();
  buffer.Append(2, {1}, "a");
  buffer.Append(0, {2}, "b");
  buffer.Append(2, {3}, "c");
  const v1::Delta first = buffer.Take()->delta();
  EXPECT_EQ(first.choice(), 2);
  EXPECT_EQ(first.text(), "ac");
  EXPECT_EQ(first.sequence(), 0u);
  buffer.Append(2, {4}, "d");
  const v1::Delta second = buffer.Take()->delta();
  EXPECT_EQ(second.choice(), 0);
  EXPECT_EQ(second.sequence(), 1u);
  EXPECT_EQ(buffer.Take()->delta().text(), "d");
  EXPECT_FALSE(buffer.Take().has_value());
}

TEST(AnswerBufferTest, EachChoiceFinishesAfterItsOwnDeltas) {
  AnswerBuffer buffer;
  buffer.Start(Started(), 2);
  buffer.Take();
  buffer.Append(1, {1}, "a");
  buffer.Finish(1, {});
  EXPECT_EQ(buffer.Take()->delta().choice(), 1);
  EXPECT_EQ(buffer.Take()->finished().choice(), 1);
  EXPECT_FALSE(buffer.all_taken());
  buffer.Finish(0, {});
  EXPECT_TRUE(buffer.Take()->has_finished());
  EXPECT_TRUE(buffer.all_taken());
  EXPECT_EQ(buffer.buffered_bytes(), 0);
}

}  // namespace
}  // namespace phalanx
