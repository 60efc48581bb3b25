#include "worker/group/step_runner.h"

#include <atomic>
#include <deque>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/mutex.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "worker/step/testing/step_builder.h"

namespace phalanx {
namespace {

Step StepOf(int32_t token) {
  TestSequence sequence{.tokens = {token}, .blocks = {1}};
  StepBuilder builder;
  builder.Add(sequence, 1);
  return builder.Finish();
}

int32_t TokenOf(const StepBlock& forward) { return forward.arrays().token_ids[0]; }

absl::Status Ignore(const SamplingBlock&) { return absl::OkStatus(); }

// Runs steps by a function, when they are launched.
StepRunner::Work WorkOf(std::function<absl::StatusOr<StepResult>(const StepBlock&)> run) {
  auto results = std::make_shared<std::deque<absl::StatusOr<StepResult>>>();
  return {.launch_forward =
              [results, run = std::move(run)](const StepBlock& forward) {
                results->push_back(run(forward));
                return absl::OkStatus();
              },
          .launch_sampling = Ignore,
          .await =
              [results] {
                absl::StatusOr<StepResult> result = std::move(results->front());
                results->pop_front();
                return result;
              },
          .launches_ahead = [] { return false; }};
}

TEST(StepRunnerTest, GivesResultsAndErrorsInTheOrderOfTheSteps) {
  StepRunner runner(WorkOf([](const StepBlock& step) -> absl::StatusOr<StepResult> {
    if (TokenOf(step) == 1) return absl::InternalError("step 1");
    return StepResult{.tokens = {TokenOf(step)}};
  }));
  for (int32_t token = 0; token < 3; ++token) runner.Submit(StepOf(token));
  EXPECT_EQ(runner.Await()->tokens, std::vector<int32_t>{0});
  EXPECT_EQ(runner.Await().status(), absl::InternalError("step 1"));
  EXPECT_EQ(runner.Await()->tokens, std::vector<int32_t>{2});
}

TEST(StepRunnerTest, TheCallerGoesOnWhileAStepRuns) {
  std::promise<void> planned;
  StepRunner runner(WorkOf([&](const StepBlock&) {
    planned.get_future().wait();
    return StepResult();
  }));
  runner.Submit(StepOf(0));
  planned.set_value();
  EXPECT_TRUE(runner.Await().ok());
}

TEST(StepRunnerTest, WaitsForTheStepThatRunsBeforeItEnds) {
  std::promise<void> runs;
  std::promise<void> go_on;
  std::atomic<bool> done = false;
  auto runner = std::make_unique<StepRunner>(WorkOf([&](const StepBlock&) {
    runs.set_value();
    go_on.get_future().wait();
    done = true;
    return StepResult();
  }));
  runner->Submit(StepOf(0));
  runs.get_future().wait();
  std::future<void> end = std::async(std::launch::async, [&] { runner.reset(); });
  go_on.set_value();
  end.get();
  EXPECT_TRUE(done);
}

TEST(StepRunnerTest, EndsThoughNobodyAwaitsItsResults) {
  StepRunner runner(WorkOf([](const StepBlock&) { return StepResult(); }));
  runner.Submit(StepOf(0));
  runner.Submit(StepOf(1));
}

// As on a device that computes after launch has returned.
TEST(StepRunnerTest, LaunchesAStepWhileTheOneBeforeRunsButNoThird) {
  std::vector<std::string> calls;
  std::promise<void> submitted;
  int awaited = 0;
  StepRunner runner({.launch_forward =
                         [&](const StepBlock& step) {
                           if (calls.empty()) submitted.get_future().wait();
                           calls.push_back(absl::StrCat("launch ", TokenOf(step)));
                           return absl::OkStatus();
                         },
                     .launch_sampling = Ignore,
                     .await = [&]() -> absl::StatusOr<StepResult> {
                       calls.push_back(absl::StrCat("await ", awaited));
                       return StepResult{.tokens = {awaited++}};
                     },
                     .launches_ahead = [] { return true; }});
  for (int32_t token = 0; token < 3; ++token) runner.Submit(StepOf(token));
  submitted.set_value();
  for (int32_t token = 0; token < 3; ++token) {
    EXPECT_EQ(runner.Await()->tokens, std::vector<int32_t>{token});
  }
  EXPECT_EQ(calls, (std::vector<std::string>{"launch 0", "launch 1", "await 0", "launch 2",
                                             "await 1", "await 2"}));
}

class TwoPartsTest : public ::testing::TestWithParam<bool> {
 protected:
  // Notes what is called; each await gives the number of the step.
  StepRunner::Work Noting() {
    return {.launch_forward =
                [this](const StepBlock& forward) {
                  Note(absl::StrCat("forward ", TokenOf(forward)));
                  return TokenOf(forward) == failing_ ? absl::InternalError("no")
                                                      : absl::OkStatus();
                },
            .launch_sampling =
                [this](const SamplingBlock& sampling) {
                  Note(absl::StrCat("sampling of ", sampling.counts().num_logit_rows));
                  return absl::OkStatus();
                },
            .await = [this]() -> absl::StatusOr<StepResult> {
              Note("await");
              return StepResult{.tokens = {awaited_++}};
            },
            .launches_ahead = [] { return GetParam(); }};
  }
  void Note(const std::string& call) {
    MutexLock lock(&mutex_);
    calls_.push_back(call);
    called_.Signal();
  }
  void AwaitCalls(size_t count) {
    MutexLock lock(&mutex_);
    while (calls_.size() < count) called_.Wait(&mutex_);
  }

  int32_t failing_ = -1;
  int awaited_ = 0;
  Mutex mutex_;
  CondVar called_;
  std::vector<std::string> calls_ GUARDED_BY(mutex_);
};

INSTANTIATE_TEST_SUITE_P(LaunchesAhead, TwoPartsTest, ::testing::Bool());

// The step before is awaited though the next one waits for its sampling, which needs the result.
TEST_P(TwoPartsTest, AForwardPartRunsBeforeItsSamplingIsThere) {
  StepRunner runner(Noting());
  runner.Submit(StepOf(0));
  AwaitCalls(2);
  runner.SubmitForward(StepOf(1).forward);
  EXPECT_EQ(runner.Await()->tokens, std::vector<int32_t>{0});
  AwaitCalls(4);
  runner.SubmitSampling(StepOf(1).sampling);
  runner.SubmitForward(StepOf(2).forward);
  EXPECT_EQ(runner.Await()->tokens, std::vector<int32_t>{1});
  runner.SubmitSampling(SamplingBlock());
  EXPECT_EQ(runner.Await()->tokens, std::vector<int32_t>{2});
  MutexLock lock(&mutex_);
  EXPECT_THAT(calls_, ::testing::Contains("sampling of 0"));
  EXPECT_EQ(calls_.size(), 9u);
}

TEST_P(TwoPartsTest, AStepWhoseSamplingDoesNotComeIsDropped) {
  StepRunner runner(Noting());
  runner.Submit(StepOf(0));
  runner.SubmitForward(StepOf(1).forward);
  EXPECT_TRUE(runner.Await().ok());
  EXPECT_EQ(runner.Await().status().code(), absl::StatusCode::kAborted);
}

TEST_P(TwoPartsTest, EndsWhileAStepWaitsForItsSampling) {
  StepRunner runner(Noting());
  runner.SubmitForward(StepOf(0).forward);
  AwaitCalls(1);
}

TEST_P(TwoPartsTest, TheSamplingOfAStepThatCannotBeLaunchedIsIgnored) {
  failing_ = 1;
  StepRunner runner(Noting());
  runner.Submit(StepOf(0));
  runner.SubmitForward(StepOf(1).forward);
  EXPECT_TRUE(runner.Await().ok());
  runner.SubmitSampling(StepOf(1).sampling);
  EXPECT_EQ(runner.Await().status(), absl::InternalError("no"));
}

TEST(StepRunnerTest, AStepThatCannotBeLaunchedFailsAfterTheOneBefore) {
  std::promise<void> submitted;
  StepRunner runner({.launch_forward =
                         [&](const StepBlock& step) {
                           if (TokenOf(step) == 0) submitted.get_future().wait();
                           return TokenOf(step) == 1 ? absl::InternalError("step 1")
                                                     : absl::OkStatus();
                         },
                     .launch_sampling = Ignore,
                     .await = []() -> absl::StatusOr<StepResult> { return StepResult(); },
                     .launches_ahead = [] { return true; }});
  runner.Submit(StepOf(0));
  runner.Submit(StepOf(1));
  submitted.set_value();
  EXPECT_TRUE(runner.Await().ok());
  EXPECT_EQ(runner.Await().status(), absl::InternalError("step 1"));
}

}  // namespace
}  // namespace phalanx
