// Requests whose answers have to follow something: while that is compiled, and while they are
// drawn.
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "worker/engine/testing/constraint_fixture.h"

namespace phalanx {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

using EngineConstraintTest = ConstraintEngineTest;

TEST_F(EngineConstraintTest, AnswersFollowAndEnd) {
  for (const int steps_in_flight : {1, 2}) {
    StartWithConstraints({.steps_in_flight = steps_in_flight});
    ASSERT_TRUE(Submit(kFirst, Constrained("[a-f]{5}")).ok());
    GenerationRequest other = Request(Prompt(30, 7), 12);
    ASSERT_TRUE(Submit(kSecond, other).ok());
    RunUntilIdle();
    EXPECT_THAT(Text(kFirst), ::testing::MatchesRegex("[abcdef]{5}<end>"));
    EXPECT_EQ(sink_->Get(kFirst).finished->reason, FinishReason::kEos);
    EXPECT_EQ(sink_->Get(kSecond).tokens, executor_->Continuation(other.prompt_token_ids, 12));
    // A step that was planned before the last end was known.
    RunSteps(steps_in_flight - 1);
    ExpectIdle();
  }
}

TEST_F(EngineConstraintTest, AnswersAreThoseThatTheyAreAlone) {
  std::vector<std::string> alone;
  for (int i = 0; i < 6; ++i) {
    StartWithConstraints({});
    GenerationRequest request = Constrained("(ab|c[d-z]*){3,9}", 20 + i);
    request.prompt_token_ids = Prompt(20 + i);
    ASSERT_TRUE(Submit(kFirst, request).ok());
    RunUntilIdle();
    alone.push_back(Text(kFirst));
  }
  StartWithConstraints({.steps_in_flight = 2});
  for (int i = 0; i < 6; ++i) {
    GenerationRequest request = Constrained("(ab|c[d-z]*){3,9}", 20 + i);
    request.prompt_token_ids = Prompt(20 + i);
    ASSERT_TRUE(Submit(RequestId(i), request).ok());
  }
  RunUntilIdle();
  for (int i = 0; i < 6; ++i) EXPECT_EQ(Text(RequestId(i)), alone[i]);
}

TEST_F(EngineConstraintTest, OthersRunWhileAConstraintIsCompiled) {
  held_ = true;
  StartWithConstraints({});
  ASSERT_TRUE(Submit(kFirst, Constrained("ab")).ok());
  ASSERT_TRUE(Submit(kSecond, Request(Prompt(20), 3)).ok());
  RunSteps(4);
  EXPECT_TRUE(sink_->Get(kSecond).ended());
  EXPECT_FALSE(sink_->Get(kFirst).started);
  EXPECT_EQ(engine_->load().waiting_requests, 1);
  EXPECT_EQ(engine_->load().waiting_tokens, 20);
  // It can be looked at meanwhile.
  EngineState state;
  ASSERT_TRUE(engine_->DumpState(5, [&](const EngineState& s) { state = s; }).ok());
  RunSteps(1);
  ASSERT_THAT(state.requests, SizeIs(1));
  EXPECT_EQ(state.requests[0].phase, RequestPhase::kWaiting);
  EXPECT_EQ(state.requests[0].generated_tokens, 0);
  go_on_.set_value();
  RunUntilIdle();
  EXPECT_EQ(Text(kFirst), "ab<end>");
  ExpectIdle();
}

TEST_F(EngineConstraintTest, ARequestCanBeCancelledWhileItsConstraintIsCompiled) {
  held_ = true;
  StartWithConstraints({});
  ASSERT_TRUE(Submit(kFirst, Constrained("ab")).ok());
  RunSteps(1);
  session_->Cancel(kFirst);
  RunSteps(1);
  EXPECT_EQ(RequestsCounted("CANCELLED"), 1);
  ExpectIdle();
  // Its constraint comes when nobody waits for it, and is kept for the next one.
  go_on_.set_value();
  held_ = false;
  ASSERT_TRUE(Submit(kFirst, Constrained("ab")).ok());
  RunUntilIdle();
  EXPECT_EQ(Text(kFirst), "ab<end>");
}

TEST_F(EngineConstraintTest, ADeadlineHoldsWhileAConstraintIsCompiled) {
  held_ = true;
  StartWithConstraints({});
  GenerationRequest request = Constrained("ab");
  request.timeout = absl::Seconds(1);
  ASSERT_TRUE(Submit(kFirst, std::move(request)).ok());
  RunSteps(1);
  EXPECT_FALSE(sink_->Get(kFirst).ended());
  clock_.Advance(absl::Seconds(1));
  RunSteps(1);
  EXPECT_TRUE(absl::IsDeadlineExceeded(sink_->Get(kFirst).error));
  ExpectIdle();
  go_on_.set_value();
}

TEST_F(EngineConstraintTest, TheEndOfTheEngineEndsWhatIsCompiled) {
  held_ = true;
  StartWithConstraints({});
  ASSERT_TRUE(Submit(kFirst, Constrained("ab")).ok());
  RunSteps(1);
  engine_->Stop();
  EXPECT_FALSE(engine_->RunOnce());
  EXPECT_TRUE(absl::IsUnavailable(sink_->Get(kFirst).error));
  go_on_.set_value();
}

TEST_F(EngineConstraintTest, TheLoopSleepsWhileItOnlyWaitsForAConstraint) {
  held_ = true;
  StartWithConstraints({});
  std::thread loop([this] { EXPECT_TRUE(engine_->Run().ok()); });
  ASSERT_TRUE(Submit(kFirst, Constrained("ab")).ok());
  go_on_.set_value();
  EXPECT_TRUE(sink_->WaitForEnd(kFirst).finished.has_value());
  engine_->Stop();
  loop.join();
}

TEST_F(EngineConstraintTest, AWrongConstraintEndsItsRequestAlone) {
  StartWithConstraints({});
  ASSERT_TRUE(Submit(kFirst, Constrained("(a")).ok());
  ASSERT_TRUE(Submit(kSecond, Request(Prompt(20), 5)).ok());
  RunUntilIdle();
  EXPECT_EQ(sink_->Get(kFirst).error.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(sink_->Get(kFirst).error.message()), HasSubstr("constraint: "));
  EXPECT_THAT(sink_->Get(kFirst).tokens, IsEmpty());
  EXPECT_THAT(sink_->Get(kSecond).tokens, SizeIs(5));
  EXPECT_EQ(RequestsCounted("INVALID_ARGUMENT"), 1);
  ExpectIdle();
}

TEST_F(EngineConstraintTest, AConstraintThatBecomesTooMuchEndsItsRequestAlone) {
  StartWithConstraints({}, {.max_lexer_states = 40});
  ASSERT_TRUE(Submit(kFirst, Constrained("(a|b)*a(a|b){60}c", 200)).ok());
  ASSERT_TRUE(Submit(kSecond, Constrained("a{90}", 200)).ok());
  GenerationRequest other = Request(Prompt(30), 150);
  ASSERT_TRUE(Submit(kThird, other).ok());
  RunUntilIdle();
  const RecordingSink::Record record = sink_->Get(kFirst);
  EXPECT_EQ(record.error.code(), absl::StatusCode::kInvalidArgument) << record.error;
  EXPECT_GT(record.tokens.size(), 1u);
  EXPECT_EQ(sink_->Get(kThird).tokens, executor_->Continuation(other.prompt_token_ids, 150));
  ExpectIdle();
}

TEST_F(EngineConstraintTest, AFullQueueOfConstraintsIsTold) {
  held_ = true;
  StartWithConstraints({}, {}, /*max_queued=*/2);
  for (int i = 0; i < 6; ++i) {
    ASSERT_TRUE(Submit(RequestId(i), Constrained(absl::StrCat("a{", i + 1, "}"))).ok());
  }
  RunSteps(1);
  int refused = 0;
  for (int i = 0; i < 6; ++i) refused += absl::IsResourceExhausted(sink_->Get(RequestId(i)).error);
  // Two wait, and the thread may have taken one.
  EXPECT_GE(refused, 3);
  EXPECT_LE(refused, 4);
  go_on_.set_value();
  held_ = false;
  RunUntilIdle();
  ExpectIdle();
}

TEST_F(EngineConstraintTest, ThinkingComesBeforeTheAnswer) {
  StartWithConstraints({});
  GenerationRequest request = Constrained("ab", 40);
  request.constraint->begin = AnswerBegin::kInsideThinkBlock;
  ASSERT_TRUE(Submit(kFirst, std::move(request)).ok());
  RunUntilIdle();
  // The model of this test never closes the block, and cannot end before it does.
  EXPECT_THAT(sink_->Get(kFirst).tokens, SizeIs(40));
  EXPECT_EQ(sink_->Get(kFirst).finished->reason, FinishReason::kLength);
}

TEST_F(EngineConstraintTest, WhatCannotBeConstrainedIsRefused) {
  EXPECT_THAT(std::string(Submit(kFirst, Constrained("ab")).message()),
              HasSubstr("this worker group has no constraints"));
  StartWithConstraints({});
  GenerationRequest request = Constrained("ab");
  request.eos_token_ids = {};
  EXPECT_THAT(std::string(Submit(kFirst, request).message()), HasSubstr("eos_token_ids"));
  request = Constrained("ab");
  request.options.min_new_tokens = 2;
  EXPECT_THAT(std::string(Submit(kFirst, request).message()), HasSubstr("min_new_tokens"));
  request = Constrained("ab", 0);
  request.score = true;
  EXPECT_THAT(std::string(Submit(kFirst, request).message()), HasSubstr("nothing is to be"));
}

}  // namespace
}  // namespace phalanx
