// What requests and metrics hear of the prefix cache.
#include <cstdint>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "worker/engine/testing/engine_fixture.h"

namespace phalanx {
namespace {

TEST_F(EngineTest, APromptThatWasSentBeforeIsNotComputedAgain) {
  ASSERT_TRUE(Submit(kFirst, Request(Prompt(100), 5)).ok());
  RunUntilIdle();
  EXPECT_EQ(sink_->Get(kFirst).cached_tokens, 0);
  ASSERT_TRUE(Submit(kSecond, Request(Prompt(100), 5)).ok());
  const int steps = executor_->steps();
  RunUntilIdle();
  EXPECT_EQ(executor_->steps(), steps + 5) << "the first step had no more than four tokens left";
  EXPECT_EQ(sink_->Get(kSecond).cached_tokens, 96);
  EXPECT_EQ(sink_->Get(kSecond).tokens, sink_->Get(kFirst).tokens);
  ExpectIdle();
}

TEST_F(EngineTest, MetricsTellWhatWasLookedForAndWhatWasFound) {
  Start({.blocks = 10});
  ASSERT_TRUE(Submit(kFirst, Request(Prompt(100), 1)).ok());
  RunUntilIdle();
  EXPECT_EQ(metrics_->kv_blocks_cached.Value(), 6);
  ASSERT_TRUE(Submit(kSecond, Request(Prompt(110), 1)).ok());
  RunSteps(1);
  EXPECT_EQ(metrics_->prefix_cache_queried_tokens_total.Value(), 210);
  EXPECT_EQ(metrics_->prefix_cache_hit_tokens_total.Value(), 96);
  EXPECT_EQ(metrics_->prompt_tokens_total.Value(), 210);
  EXPECT_EQ(metrics_->kv_blocks_evicted_total.Value(), 0);
  ASSERT_TRUE(Submit(kThird, Request(Prompt(150, 500), 1)).ok());
  RunUntilIdle();
  EXPECT_EQ(metrics_->kv_blocks_evicted_total.Value(), 6) << "four blocks were free";
  EXPECT_EQ(metrics_->kv_blocks_cached.Value(), 9);
  ExpectIdle();
}

TEST_F(EngineTest, PromptsThatAreScoredDoNotCountAsLookedFor) {
  GenerationRequest request = Request(Prompt(100), 0);
  request.score = true;
  for (const RequestId id : {kFirst, kSecond}) {
    ASSERT_TRUE(Submit(id, request).ok());
    RunUntilIdle();
    EXPECT_EQ(sink_->Get(id).log_probs, executor_->LogProbs(Prompt(100)));
  }
  EXPECT_EQ(metrics_->prefix_cache_queried_tokens_total.Value(), 0);
  EXPECT_EQ(metrics_->kv_blocks_cached.Value(), 0);
}

TEST_F(EngineTest, WithoutAPrefixCacheNothingIsKept) {
  Start({.prefix_cache = false});
  for (const RequestId id : {kFirst, kSecond}) {
    ASSERT_TRUE(Submit(id, Request(Prompt(100), 1)).ok());
    RunUntilIdle();
    EXPECT_EQ(sink_->Get(id).cached_tokens, 0);
  }
  EXPECT_EQ(metrics_->prefix_cache_queried_tokens_total.Value(), 0);
  EXPECT_EQ(metrics_->kv_blocks_cached.Value(), 0);
}

TEST_F(EngineTest, RequestsOfDifferentSaltsShareNothing) {
  GenerationRequest request = Request(Prompt(100), 1);
  for (const RequestId id : {kFirst, kSecond, kThird}) {
    request.cache_salt = id == kSecond ? "b" : "a";
    ASSERT_TRUE(Submit(id, request).ok());
    RunUntilIdle();
  }
  EXPECT_EQ(sink_->Get(kSecond).cached_tokens, 0);
  EXPECT_EQ(sink_->Get(kThird).cached_tokens, 96);
}

TEST_F(EngineTest, WhatARequestWithoutNumbersComputedIsNotKept) {
  executor_->BreakAfter(99);
  ASSERT_TRUE(Submit(kFirst, Request(Prompt(100), 5)).ok());
  RunUntilIdle();
  EXPECT_EQ(sink_->Get(kFirst).error.code(), absl::StatusCode::kInternal);
  EXPECT_EQ(metrics_->kv_blocks_cached.Value(), 0);
  ExpectIdle();
}

TEST_F(EngineTest, NothingIsKeptOfAStepThatFailed) {
  ASSERT_TRUE(Submit(kFirst, Request(Prompt(100), 5)).ok());
  RunSteps(1);
  executor_->FailWith(absl::UnavailableError("a rank was lost"));
  EXPECT_FALSE(engine_->RunOnce());
  EXPECT_EQ(metrics_->kv_blocks_cached.Value(), 0);
  ExpectIdle();
}

}  // namespace
}  // namespace phalanx
