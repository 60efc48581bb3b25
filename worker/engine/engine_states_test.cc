// A request can end in any way in any state, and does so once: what it had is free a step later, or
// two if two are in flight.
#include <string>
#include <tuple>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "worker/engine/testing/engine_fixture.h"

namespace phalanx {
namespace {

enum class State {
  kSubmitted,
  kWaiting,
  kAwaitsBlocks,
  kPrefills,
  kDecodes,
  kPreempted,
  kFinished
};
enum class End { kDone, kCancelled, kCancelledOften, kSessionClosed, kDeadline, kFailed, kStopped };

constexpr int kNewTokens = 30;

std::string NameOf(State state) {
  switch (state) {
    case State::kSubmitted:
      return "Submitted";
    case State::kWaiting:
      return "Waiting";
    case State::kAwaitsBlocks:
      return "AwaitsBlocks";
    case State::kPrefills:
      return "Prefills";
    case State::kDecodes:
      return "Decodes";
    case State::kPreempted:
      return "Preempted";
    case State::kFinished:
      return "Finished";
  }
  return "";
}

std::string NameOf(End end) {
  switch (end) {
    case End::kDone:
      return "Done";
    case End::kCancelled:
      return "Cancelled";
    case End::kCancelledOften:
      return "CancelledOften";
    case End::kSessionClosed:
      return "SessionClosed";
    case End::kDeadline:
      return "Deadline";
    case End::kFailed:
      return "Failed";
    case End::kStopped:
      return "Stopped";
  }
  return "";
}

// The request is kFirst. A second one, which came before it, may be there to bring it into its
// state.
class EngineStatesTest : public EngineTest,
                         public ::testing::WithParamInterface<std::tuple<State, End, int>> {
 protected:
  State state() const { return std::get<0>(GetParam()); }
  End end() const { return std::get<1>(GetParam()); }
  int steps_in_flight() const { return std::get<2>(GetParam()); }

  void Begin(Sizes sizes, int prompt_tokens, int prompt_tokens_before = 0) {
    sizes.steps_in_flight = steps_in_flight();
    Start(sizes);
    if (prompt_tokens_before > 0) {
      ASSERT_TRUE(Submit(kSecond, Request(Prompt(prompt_tokens_before), kNewTokens)).ok());
    }
    prompt_ = Prompt(prompt_tokens, state() == State::kAwaitsBlocks ? 1 : 300);
    GenerationRequest request = Request(prompt_, kNewTokens);
    request.timeout = absl::Hours(1);
    ASSERT_TRUE(Submit(kFirst, request).ok());
  }

  void Reach() {
    switch (state()) {
      case State::kSubmitted:
        return Begin({}, 20);
      case State::kWaiting:
        Begin({.seqs = 1}, 20, 20);
        RunSteps(3);
        ASSERT_EQ(engine_->load().waiting_requests, 1);
        ASSERT_FALSE(sink_->Get(kFirst).started);
        return;
      case State::kAwaitsBlocks:
        Begin({.step_tokens = 8}, 100, 100);
        RunSteps(3);
        ASSERT_EQ(engine_->load().waiting_requests, 1);
        ASSERT_FALSE(sink_->Get(kFirst).started);
        return;
      case State::kPrefills:
        Begin({.step_tokens = 8}, 100);
        RunSteps(3);
        ASSERT_TRUE(sink_->Get(kFirst).started);
        ASSERT_TRUE(sink_->Get(kFirst).tokens.empty());
        return;
      case State::kDecodes:
        Begin({}, 20);
        RunSteps(5);
        ASSERT_FALSE(sink_->Get(kFirst).tokens.empty());
        return;
      case State::kPreempted:
        Begin({.blocks = 4}, 16, 16);
        while (metrics_->preemptions_total.Value() == 0) RunSteps(1);
        ASSERT_EQ(engine_->load().waiting_requests, 1);
        ASSERT_FALSE(sink_->Get(kFirst).tokens.empty());
        return;
      case State::kFinished:
        Begin({}, 20);
        RunUntilIdle();
        ASSERT_TRUE(sink_->Get(kFirst).ended());
        return;
    }
  }

  // What was used by requests that have ended is free.
  void ExpectAllFree() {
    for (int i = 0; i < steps_in_flight(); ++i) engine_->RunOnce();
    ExpectIdle();
  }

  void ExpectError(absl::StatusCode code) {
    EXPECT_EQ(sink_->Get(kFirst).error.code(), code);
    EXPECT_EQ(RequestsCounted(absl::StatusCodeToString(code)),
              end() == End::kDeadline ? 1 : Live());
  }

  // Requests that were there before the end.
  int Live() const { return 1 + (sink_->Get(kSecond).ended() ? 1 : 0); }

  std::vector<int32_t> prompt_;
};

TEST_P(EngineStatesTest, EndsOnceAndLeavesNothing) {
  ASSERT_NO_FATAL_FAILURE(Reach());
  const bool was_over = state() == State::kFinished;
  switch (end()) {
    case End::kDone:
      RunUntilIdle();
      EXPECT_EQ(sink_->Get(kFirst).tokens, executor_->Continuation(prompt_, kNewTokens));
      EXPECT_TRUE(sink_->Get(kFirst).finished.has_value());
      break;
    case End::kCancelled:
      session_->Cancel(kFirst);
      session_->Cancel(kSecond);
      break;
    case End::kCancelledOften:
      for (int i = 0; i < 3; ++i) {
        session_->Cancel(kFirst);
        session_->CancelAll();
        session_->Cancel(kThird);
        if (i > 0) RunSteps(1);
      }
      break;
    case End::kSessionClosed:
      session_.reset();
      break;
    case End::kDeadline:
      clock_.Advance(absl::Hours(2));
      session_->Cancel(kSecond);
      break;
    case End::kFailed:
      engine_->Fail(absl::InternalError("broken"));
      break;
    case End::kStopped:
      engine_->Stop();
      break;
  }
  ExpectAllFree();
  const RecordingSink::Record record = sink_->Get(kFirst);
  if (was_over || end() == End::kDone) {
    EXPECT_TRUE(record.finished.has_value());
    EXPECT_TRUE(record.error.ok());
    EXPECT_EQ(RequestsCounted("CANCELLED"), 0);
    return;
  }
  // RecordingSink dies on a second end.
  EXPECT_FALSE(record.finished.has_value());
  switch (end()) {
    case End::kDeadline:
      return ExpectError(absl::StatusCode::kDeadlineExceeded);
    case End::kFailed:
      return ExpectError(absl::StatusCode::kInternal);
    case End::kStopped:
      return ExpectError(absl::StatusCode::kUnavailable);
    default:
      EXPECT_TRUE(record.error.ok());
      const bool other = state() == State::kWaiting || state() == State::kAwaitsBlocks ||
                         state() == State::kPreempted;
      EXPECT_EQ(RequestsCounted("CANCELLED"), other ? 2 : 1);
  }
  if (end() == End::kSessionClosed) return;
  // The id is free for another one.
  ASSERT_TRUE(Submit(kFirst, Request(prompt_, 1)).ok());
  session_->Cancel(kFirst);
  RunSteps(1);
}

INSTANTIATE_TEST_SUITE_P(
    All, EngineStatesTest,
    ::testing::Combine(::testing::Values(State::kSubmitted, State::kWaiting, State::kAwaitsBlocks,
                                         State::kPrefills, State::kDecodes, State::kPreempted,
                                         State::kFinished),
                       ::testing::Values(End::kDone, End::kCancelled, End::kCancelledOften,
                                         End::kSessionClosed, End::kDeadline, End::kFailed,
                                         End::kStopped),
                       ::testing::Values(1, 2)),
    [](const auto& info) {
      return NameOf(std::get<0>(info.param)) + NameOf(std::get<1>(info.param)) +
             std::to_string(std::get<2>(info.param));
    });

}  // namespace
}  // namespace phalanx
