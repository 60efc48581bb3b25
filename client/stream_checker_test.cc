#include "client/stream_checker.h"

#include "gtest/gtest.h"

namespace phalanx {
namespace {

v1::GenerateEvent Started() {
  v1::GenerateEvent event;
  event.mutable_started();
  return event;
}

v1::GenerateEvent Delta(uint64_t sequence, int num_tokens = 1) {
  v1::GenerateEvent event;
  event.mutable_delta()->set_sequence(sequence);
  for (int i = 0; i < num_tokens; ++i) event.mutable_delta()->add_token_ids(i);
  return event;
}

v1::GenerateEvent Finished(int completion_tokens) {
  v1::GenerateEvent event;
  event.mutable_finished()->mutable_usage()->set_completion_tokens(completion_tokens);
  return event;
}

TEST(StreamCheckerTest, AcceptsAWholeStream) {
  StreamChecker checker;
  EXPECT_TRUE(checker.Check(Started()).ok());
  EXPECT_TRUE(checker.Check(Delta(0, 2)).ok());
  EXPECT_TRUE(checker.Check(Delta(1)).ok());
  EXPECT_TRUE(checker.Check(Finished(3)).ok());
  EXPECT_TRUE(checker.CheckEnd().ok());
}

TEST(StreamCheckerTest, FindsAGapAndARepetition) {
  StreamChecker checker;
  EXPECT_TRUE(checker.Check(Started()).ok());
  EXPECT_TRUE(checker.Check(Delta(0)).ok());
  EXPECT_EQ(checker.Check(Delta(2)).message(), "stream: Delta 2 came where 1 was expected");
  EXPECT_TRUE(absl::IsDataLoss(checker.Check(Delta(0))));
}

TEST(StreamCheckerTest, FindsEventsOutOfOrder) {
  StreamChecker checker;
  EXPECT_TRUE(absl::IsDataLoss(checker.Check(Delta(0))));
  EXPECT_TRUE(absl::IsDataLoss(checker.Check(Finished(0))));
  EXPECT_TRUE(checker.Check(Started()).ok());
  EXPECT_TRUE(absl::IsDataLoss(checker.Check(Started())));
  EXPECT_TRUE(checker.Check(Finished(0)).ok());
  EXPECT_TRUE(absl::IsDataLoss(checker.Check(Delta(0))));
}

TEST(StreamCheckerTest, FindsAnEarlyEndAndAWrongCount) {
  StreamChecker checker;
  EXPECT_TRUE(absl::IsDataLoss(checker.CheckEnd()));
  EXPECT_TRUE(checker.Check(Started()).ok());
  EXPECT_TRUE(checker.Check(Delta(0, 2)).ok());
  EXPECT_TRUE(absl::IsDataLoss(checker.CheckEnd()));
  EXPECT_TRUE(checker.Check(Finished(3)).ok());
  EXPECT_EQ(checker.CheckEnd().message(), "stream: 2 tokens came, but Finished counts 3");
}

TEST(StreamCheckerTest, EachChoiceFinishesOnce) {
  StreamChecker checker(2);
  v1::GenerateEvent delta = Delta(0, 2);
  delta.mutable_delta()->set_choice(1);
  v1::GenerateEvent finished = Finished(2);
  finished.mutable_finished()->set_choice(1);
  EXPECT_TRUE(checker.Check(Started()).ok());
  EXPECT_TRUE(checker.Check(delta).ok());
  EXPECT_TRUE(checker.Check(finished).ok());
  EXPECT_TRUE(absl::IsDataLoss(checker.Check(finished)));
  EXPECT_TRUE(absl::IsDataLoss(checker.CheckEnd())) << "choice 0 has not finished";
  EXPECT_TRUE(checker.Check(Delta(1)).ok());
  EXPECT_TRUE(checker.Check(Finished(1)).ok());
  EXPECT_TRUE(checker.CheckEnd().ok());
}

TEST(StreamCheckerTest, FindsAChoiceThatWasNotAskedFor) {
  StreamChecker checker(2);
  EXPECT_TRUE(checker.Check(Started()).ok());
  for (const int choice : {-1, 2}) {
    v1::GenerateEvent delta = Delta(0);
    delta.mutable_delta()->set_choice(choice);
    EXPECT_TRUE(absl::IsDataLoss(checker.Check(delta)));
  }
}

TEST(StreamCheckerTest, IgnoresKindsThatItDoesNotKnow) {
  StreamChecker checker;
  EXPECT_TRUE(checker.Check(v1::GenerateEvent()).ok());
}

}  // namespace
}  // namespace phalanx
