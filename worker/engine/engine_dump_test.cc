// What the engine tells of itself.
#include <optional>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "worker/engine/testing/engine_fixture.h"

namespace phalanx {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class EngineDumpTest : public EngineTest {
 protected:
  // Asks for the state and turns the loop once.
  EngineState Dump(int max_requests = 100) {
    std::optional<EngineState> state;
    EXPECT_TRUE(
        engine_->DumpState(max_requests, [&](const EngineState& told) { state = told; }).ok());
    EXPECT_TRUE(engine_->RunOnce());
    EXPECT_TRUE(state.has_value());
    return state.value_or(EngineState());
  }

  static std::vector<RequestPhase> Phases(const EngineState& state) {
    std::vector<RequestPhase> phases;
    for (const RequestSnapshot& request : state.requests) phases.push_back(request.phase);
    return phases;
  }
};

TEST_F(EngineDumpTest, AnIdleEngineTellsThatItIsIdle) {
  const EngineState state = Dump();
  EXPECT_THAT(state.requests, IsEmpty());
  EXPECT_EQ(state.total_kv_blocks, 64);
  EXPECT_EQ(state.used_kv_blocks, 0);
  EXPECT_EQ(state.steps_ended, 0);
  EXPECT_EQ(state.step_age, absl::ZeroDuration());
}

TEST_F(EngineDumpTest, ARequestIsToldWithItsPhaseTokensAndBlocks) {
  ASSERT_TRUE(Submit(kFirst, Request(Prompt(100), 8)).ok());
  clock_.Advance(absl::Seconds(2));
  // The first step takes 64 of its 100 tokens.
  EngineState state = Dump();
  ASSERT_THAT(state.requests, SizeIs(1));
  EXPECT_EQ(state.requests[0].id, kFirst);
  EXPECT_EQ(state.requests[0].phase, RequestPhase::kPrefilling);
  EXPECT_EQ(state.requests[0].age, absl::Seconds(2));
  EXPECT_EQ(state.requests[0].prompt_tokens, 100);
  EXPECT_EQ(state.requests[0].computed_tokens, 64);
  EXPECT_EQ(state.requests[0].generated_tokens, 0);
  EXPECT_EQ(state.steps_in_flight, 1);
  EXPECT_EQ(state.running_requests, 1);
  EXPECT_EQ(state.step_age, absl::Seconds(2));
  RunSteps(3);
  state = Dump();
  EXPECT_EQ(state.requests[0].phase, RequestPhase::kDecoding);
  EXPECT_EQ(state.requests[0].generated_tokens, 3);
  EXPECT_EQ(state.requests[0].computed_tokens, 103);
  EXPECT_EQ(state.requests[0].kv_blocks, 7);
  EXPECT_EQ(state.used_kv_blocks, 7);
  EXPECT_EQ(state.steps_ended, 4);
  EXPECT_EQ(state.last_step_time, absl::Milliseconds(10));
  EXPECT_EQ(state.last_step_tokens, 1);
  EXPECT_EQ(state.last_step_seqs, 1);
  EXPECT_EQ(state.generated_tokens, 3);
  EXPECT_GT(state.computed_tokens_per_second, state.generated_tokens_per_second);
}

TEST_F(EngineDumpTest, TheOldestAreToldFirstAndTheRestIsCounted) {
  Start({.seqs = 2});
  for (int i = 1; i <= 5; ++i) {
    // Shorter than a block, so that none waits for the blocks of another.
    ASSERT_TRUE(Submit(RequestId{static_cast<uint64_t>(10 - i)}, Request(Prompt(10), 8)).ok());
  }
  EXPECT_THAT(Phases(Dump()),
              ElementsAre(RequestPhase::kDecoding, RequestPhase::kDecoding, RequestPhase::kWaiting,
                          RequestPhase::kWaiting, RequestPhase::kWaiting));
  const EngineState state = Dump(/*max_requests=*/2);
  ASSERT_THAT(state.requests, SizeIs(2));
  EXPECT_EQ(state.requests[0].id, RequestId{9});
  EXPECT_EQ(state.requests[1].id, RequestId{8});
  EXPECT_EQ(state.running_requests, 2);
  EXPECT_EQ(state.waiting_requests, 3);
}

TEST_F(EngineDumpTest, APreemptedRequestIsToldAsSuch) {
  // Two sequences of 16 + 40 tokens do not fit into six blocks.
  Start({.blocks = 6, .prefix_cache = false});
  ASSERT_TRUE(Submit(kFirst, Request(Prompt(16), 60)).ok());
  ASSERT_TRUE(Submit(kSecond, Request(Prompt(16, 400), 60)).ok());
  EngineState state = Dump();
  for (int i = 0; i < 60 && state.preemptions == 0; ++i) state = Dump();
  EXPECT_EQ(state.preemptions, 1);
  EXPECT_THAT(Phases(state), ElementsAre(RequestPhase::kDecoding, RequestPhase::kPreempted));
  EXPECT_EQ(state.requests[1].kv_blocks, 0);
  EXPECT_EQ(state.requests[1].computed_tokens, 0);
  EXPECT_GT(state.requests[1].generated_tokens, 0);
}

TEST_F(EngineDumpTest, HitsOfThePrefixCacheAreTold) {
  ASSERT_TRUE(Submit(kFirst, Request(Prompt(64), 2)).ok());
  RunUntilIdle();
  ASSERT_TRUE(Submit(kSecond, Request(Prompt(64), 2)).ok());
  const EngineState state = Dump();
  EXPECT_EQ(state.requests.at(0).cached_tokens, 48);
  EXPECT_EQ(state.cache_queried_tokens, 128);
  EXPECT_EQ(state.cache_hit_tokens, 48);
}

TEST_F(EngineDumpTest, ScoredPromptsGenerateNothing) {
  GenerationRequest request = Request(Prompt(100), 0);
  request.score = true;
  ASSERT_TRUE(Submit(kFirst, request).ok());
  const EngineState state = Dump();
  EXPECT_TRUE(state.requests.at(0).score);
  EXPECT_EQ(state.requests[0].phase, RequestPhase::kPrefilling);
  EXPECT_EQ(state.requests[0].generated_tokens, 0);
}

TEST_F(EngineDumpTest, MoreThanEightThatWaitAreRefused) {
  int told = 0;
  const auto count = [&told](const EngineState&) { ++told; };
  for (int i = 0; i < Engine::kMaxWaitingDumps; ++i) {
    EXPECT_TRUE(engine_->DumpState(1, count).ok());
  }
  EXPECT_TRUE(absl::IsResourceExhausted(engine_->DumpState(1, count)));
  EXPECT_EQ(told, 0);
  RunSteps(1);
  EXPECT_EQ(told, 8);
  EXPECT_TRUE(engine_->DumpState(1, count).ok());
}

TEST_F(EngineDumpTest, WhoWaitsWhenTheEngineEndsIsTold) {
  int told = 0;
  ASSERT_TRUE(Submit(kFirst, Request(Prompt(20), 8)).ok());
  ASSERT_TRUE(engine_->DumpState(1, [&told](const EngineState&) { ++told; }).ok());
  engine_->Stop();
  EXPECT_TRUE(absl::IsUnavailable(engine_->DumpState(1, [](const EngineState&) { FAIL(); })));
  EXPECT_FALSE(engine_->RunOnce());
  EXPECT_EQ(told, 1);
}

}  // namespace
}  // namespace phalanx
