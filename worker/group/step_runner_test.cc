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

int32_t TokenOf(const Step& step) { return step.forward.arrays().token_ids[0]; }

// Runs steps by a function, when they are launched.
StepRunner::Work WorkOf(std::function<absl::StatusOr<StepResult>(const Step&)> run) {
  auto results = std::make_shared<std::deque<absl::StatusOr<StepResult>>>();
  return {.launch =
              [results, run = std::move(run)](const Step& step) {
                results->push_back(run(step));
                return absl::OkStatus();
              },
          .await =
              [results] {
                absl::StatusOr<StepResult> result = std::move(results->front());
                results->pop_front();
                return result;
              },
          .launches_ahead = [] { return false; }};
}

TEST(StepRunnerTest, GivesResultsAndErrorsInTheOrderOfTheSteps) {
  StepRunner runner(WorkOf([](const Step& step) -> absl::StatusOr<StepResult> {
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
  StepRunner runner(WorkOf([&](const Step&) {
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
  auto runner = std::make_unique<StepRunner>(WorkOf([&](const Step&) {
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
  StepRunner runner(WorkOf([](const Step&) { return StepResult(); }));
  runner.Submit(StepOf(0));
  runner.Submit(StepOf(1));
}

// As on a device that computes after launch has returned.
TEST(StepRunnerTest, LaunchesAStepWhileTheOneBeforeRunsButNoThird) {
  std::vector<std::string> calls;
  std::promise<void> submitted;
  int awaited = 0;
  StepRunner runner({.launch =
                         [&](const Step& step) {
                           if (calls.empty()) submitted.get_future().wait();
                           calls.push_back(absl::StrCat("launch ", TokenOf(step)));
                           return absl::OkStatus();
                         },
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

TEST(StepRunnerTest, AStepThatCannotBeLaunchedFailsAfterTheOneBefore) {
  std::promise<void> submitted;
  StepRunner runner({.launch =
                         [&](const Step& step) {
                           if (TokenOf(step) == 0) submitted.get_future().wait();
                           return TokenOf(step) == 1 ? absl::InternalError("step 1")
                                                     : absl::OkStatus();
                         },
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
