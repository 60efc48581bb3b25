// Requests whose reasoning is limited.
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "worker/engine/testing/constraint_fixture.h"

namespace phalanx {
namespace {

using ::testing::ElementsAreArray;
using ::testing::HasSubstr;
using ::testing::SizeIs;

constexpr absl::string_view kClosing = "\n</think>";

std::vector<int32_t> Bytes(absl::string_view text) {
  std::vector<int32_t> tokens;
  for (const char byte : text) tokens.push_back(static_cast<uint8_t>(byte));
  return tokens;
}

std::vector<int32_t> operator+(std::vector<int32_t> a, const std::vector<int32_t>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

class EngineReasoningTest : public ConstraintEngineTest {
 protected:
  // Of a prompt that has opened the block.
  static GenerationRequest Limited(std::vector<int32_t> prompt, int max_tokens,
                                   int max_new_tokens) {
    GenerationRequest request = Request(std::move(prompt), max_new_tokens);
    request.options.reasoning_limit = {
        .max_tokens = max_tokens, .close_token_ids = Bytes(kClosing), .opened_by_prompt = true};
    return request;
  }

  // The answer to such a request. The model of these tests never closes a block.
  std::vector<int32_t> Expected(const GenerationRequest& request) const {
    const std::vector<int32_t>& prompt = request.prompt_token_ids;
    std::vector<int32_t> answer =
        executor_->Continuation(prompt, request.options.reasoning_limit->max_tokens) +
        Bytes(kClosing);
    const int left = request.max_new_tokens - static_cast<int>(answer.size());
    if (left > 0) answer = answer + executor_->Continuation(prompt + answer, left);
    answer.resize(static_cast<size_t>(request.max_new_tokens));
    return answer;
  }

  // Has the vocabulary made, which takes an uncertain number of steps.
  void WarmUp() {
    ASSERT_TRUE(Submit(RequestId(99), Limited(Prompt(5, 600), 0, 1)).ok());
    RunUntilIdle();
  }
};

TEST_F(EngineReasoningTest, TheBlockIsClosedAndTheAnswerFollows) {
  for (const int steps_in_flight : {1, 2}) {
    StartWithConstraints({.steps_in_flight = steps_in_flight});
    for (const int max_tokens : {0, 1, 5, 30}) {
      const GenerationRequest request = Limited(Prompt(20), max_tokens, 40);
      const GenerationRequest other = Request(Prompt(30, 7), 40);
      ASSERT_TRUE(Submit(kFirst, request).ok());
      ASSERT_TRUE(Submit(kSecond, other).ok());
      RunUntilIdle();
      EXPECT_EQ(sink_->Get(kFirst).tokens, Expected(request)) << max_tokens;
      EXPECT_EQ(sink_->Get(kFirst).finished->reason, FinishReason::kLength);
      EXPECT_EQ(sink_->Get(kSecond).tokens, executor_->Continuation(other.prompt_token_ids, 40));
      ExpectIdle();
      session_.reset();
      sink_ = std::make_unique<RecordingSink>();
      session_ = engine_->OpenSession(sink_.get()).value();
    }
  }
}

TEST_F(EngineReasoningTest, MaxNewTokensMayCutTheTagShort) {
  StartWithConstraints({});
  const GenerationRequest request = Limited(Prompt(20), 6, 10);
  ASSERT_TRUE(Submit(kFirst, request).ok());
  RunUntilIdle();
  EXPECT_EQ(sink_->Get(kFirst).tokens, Expected(request));
  EXPECT_THAT(sink_->Get(kFirst).tokens, SizeIs(10));
  EXPECT_EQ(sink_->Get(kFirst).finished->reason, FinishReason::kLength);
}

TEST_F(EngineReasoningTest, AnAnswerThatOpensNoBlockIsLeftAlone) {
  StartWithConstraints({});
  GenerationRequest request = Limited(Prompt(20), 2, 20);
  request.options.reasoning_limit->opened_by_prompt = false;
  ASSERT_TRUE(Submit(kFirst, request).ok());
  RunUntilIdle();
  EXPECT_EQ(sink_->Get(kFirst).tokens, executor_->Continuation(request.prompt_token_ids, 20));
}

TEST_F(EngineReasoningTest, AnEndInsideOfTheLimitEndsTheAnswer) {
  StartWithConstraints({});
  GenerationRequest request = Limited(Prompt(20), 10, 40);
  const std::vector<int32_t> free = executor_->Continuation(request.prompt_token_ids, 4);
  request.eos_token_ids = {free.back()};
  ASSERT_TRUE(Submit(kFirst, request).ok());
  // A token that is forced ends it too, if it is one of those that do.
  request.eos_token_ids = {'h'};
  ASSERT_TRUE(Submit(kSecond, request).ok());
  RunUntilIdle();
  EXPECT_EQ(sink_->Get(kFirst).tokens, free);
  EXPECT_EQ(sink_->Get(kFirst).finished->reason, FinishReason::kEos);
  EXPECT_THAT(sink_->Get(kSecond).tokens, SizeIs(10 + std::string("\n</th").size()));
  EXPECT_EQ(sink_->Get(kSecond).finished->reason, FinishReason::kEos);
}

TEST_F(EngineReasoningTest, APreemptionChangesNothingWhereverItComes) {
  for (const int steps_in_flight : {1, 2}) {
    int while_closing = 0;
    for (int max_tokens = 20; max_tokens < 50; ++max_tokens) {
      // Two sequences of 16 + 60 tokens do not fit into six blocks.
      StartWithConstraints(
          {.blocks = 6, .steps_in_flight = steps_in_flight, .prefix_cache = false});
      WarmUp();
      const GenerationRequest first = Limited(Prompt(16), 7, 60);
      const GenerationRequest second = Limited(Prompt(16, 400), max_tokens, 60);
      ASSERT_TRUE(Submit(kFirst, first).ok());
      ASSERT_TRUE(Submit(kSecond, second).ok());
      while (metrics_->preemptions_total.Value() == 0) RunSteps(1);
      const auto drawn = static_cast<int>(sink_->Get(kSecond).tokens.size());
      while_closing += drawn > max_tokens && drawn < max_tokens + static_cast<int>(kClosing.size());
      RunUntilIdle();
      EXPECT_EQ(sink_->Get(kFirst).tokens, Expected(first));
      EXPECT_EQ(sink_->Get(kSecond).tokens, Expected(second)) << max_tokens;
      ExpectIdle();
    }
    EXPECT_GE(while_closing, 5);
  }
}

TEST_F(EngineReasoningTest, WhatThePrefixCacheHasChangesNothing) {
  StartWithConstraints({});
  const GenerationRequest request = Limited(Prompt(40), 20, 60);
  for (const RequestId id : {kFirst, kSecond}) {
    ASSERT_TRUE(Submit(id, request).ok());
    RunUntilIdle();
    EXPECT_EQ(sink_->Get(id).tokens, Expected(request));
  }
  EXPECT_EQ(sink_->Get(kSecond).cached_tokens, 32);
  // A prompt that has all of the first answer, and so the tag that was forced.
  const GenerationRequest next = Limited(Prompt(40) + Expected(request), 3, 30);
  ASSERT_TRUE(Submit(kThird, next).ok());
  RunUntilIdle();
  EXPECT_EQ(sink_->Get(kThird).cached_tokens, 96);
  EXPECT_EQ(sink_->Get(kThird).tokens, Expected(next));
}

TEST_F(EngineReasoningTest, AConstraintBeginsBehindTheTag) {
  for (const int steps_in_flight : {1, 2}) {
    StartWithConstraints({.steps_in_flight = steps_in_flight});
    GenerationRequest request = Constrained("[a-c]{4}", 60);
    request.constraint->begin = AnswerBegin::kInsideThinkBlock;
    request.options.reasoning_limit = Limited({1}, 5, 1).options.reasoning_limit;
    ASSERT_TRUE(Submit(kFirst, request).ok());
    RunUntilIdle();
    ASSERT_THAT(sink_->Get(kFirst).tokens, SizeIs(5 + kClosing.size() + 5));
    EXPECT_THAT(Text(kFirst).substr(5), ::testing::MatchesRegex("\n</think>[abc]{4}<end>"));
    EXPECT_EQ(sink_->Get(kFirst).finished->reason, FinishReason::kEos);
    // A step that was planned before the end was known.
    RunSteps(steps_in_flight - 1);
    ExpectIdle();
  }
}

TEST_F(EngineReasoningTest, ACancelledRequestIsForgotten) {
  StartWithConstraints({});
  ASSERT_TRUE(Submit(kFirst, Limited(Prompt(20), 2, 100)).ok());
  session_->Cancel(kFirst);
  RunUntilIdle();
  WarmUp();
  ASSERT_TRUE(Submit(kSecond, Limited(Prompt(20), 2, 100)).ok());
  RunSteps(5);
  EXPECT_THAT(sink_->Get(kSecond).tokens, SizeIs(5));
  session_->Cancel(kSecond);
  RunSteps(2);
  ExpectIdle();
}

TEST_F(EngineReasoningTest, LimitsThatCannotBeKeptAreRefused) {
  EXPECT_THAT(std::string(Submit(kFirst, Limited(Prompt(20), 2, 10)).message()),
              HasSubstr("reasoning_limit: this worker group has no constraints"));
  StartWithConstraints({});
  GenerationRequest request = Limited(Prompt(20), -1, 10);
  EXPECT_THAT(std::string(Submit(kFirst, request).message()),
              HasSubstr("reasoning_limit.max_tokens"));
  request = Limited(Prompt(20), 2, 10);
  request.options.reasoning_limit->close_token_ids = Bytes("</thin");
  ASSERT_TRUE(Submit(kFirst, request).ok());
  RunUntilIdle();
  EXPECT_EQ(sink_->Get(kFirst).error.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(sink_->Get(kFirst).error.message()),
              HasSubstr("reasoning_limit: close_token_ids"));
  ExpectIdle();
}

}  // namespace
}  // namespace phalanx
