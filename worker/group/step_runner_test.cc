#include "worker/group/step_runner.h"

#include <atomic>
#include <future>
#include <memory>
#include <vector>

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

TEST(StepRunnerTest, GivesResultsAndErrorsInTheOrderOfTheSteps) {
  StepRunner runner([](const Step& step) -> absl::StatusOr<StepResult> {
    if (TokenOf(step) == 1) return absl::InternalError("step 1");
    return StepResult{.tokens = {TokenOf(step)}};
  });
  for (int32_t token = 0; token < 3; ++token) runner.Submit(StepOf(token));
  EXPECT_EQ(runner.Await()->tokens, std::vector<int32_t>{0});
  EXPECT_EQ(runner.Await().status(), absl::InternalError("step 1"));
  EXPECT_EQ(runner.Await()->tokens, std::vector<int32_t>{2});
}

TEST(StepRunnerTest, TheCallerGoesOnWhileAStepRuns) {
  std::promise<void> planned;
  StepRunner runner([&](const Step&) {
    planned.get_future().wait();
    return StepResult();
  });
  runner.Submit(StepOf(0));
  planned.set_value();
  EXPECT_TRUE(runner.Await().ok());
}

TEST(StepRunnerTest, WaitsForTheStepThatRunsBeforeItEnds) {
  std::promise<void> runs;
  std::promise<void> go_on;
  std::atomic<bool> done = false;
  auto runner = std::make_unique<StepRunner>([&](const Step&) {
    runs.set_value();
    go_on.get_future().wait();
    done = true;
    return StepResult();
  });
  runner->Submit(StepOf(0));
  runs.get_future().wait();
  std::future<void> end = std::async(std::launch::async, [&] { runner.reset(); });
  go_on.set_value();
  end.get();
  EXPECT_TRUE(done);
}

TEST(StepRunnerTest, EndsThoughNobodyAwaitsItsResults) {
  StepRunner runner([](const Step&) { return StepResult(); });
  runner.Submit(StepOf(0));
  runner.Submit(StepOf(1));
}

}  // namespace
}  // namespace phalanx
