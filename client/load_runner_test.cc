#include "client/load_runner.h"

#include <string>

#include "base/clock.h"
#include "client/testing/fake_server.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

using ::testing::ElementsAre;
using ::testing::SizeIs;

constexpr absl::Duration kInterval = absl::Milliseconds(1);

PlannedRequest Planned(std::vector<int32_t> prompt, int max_new_tokens) {
  return {.prompt_token_ids = std::move(prompt), .max_new_tokens = max_new_tokens, .due = {}};
}

class LoadRunnerTest : public ::testing::Test {
 protected:
  LoadRunnerTest() : client_({server_.target()}) {}

  LoadRunner::Options Options(int concurrency) {
    LoadRunner::Options options;
    options.concurrency = concurrency;
    options.request.set_model("m");
    return options;
  }

  FakeServer server_;
  InferenceClient client_;
};

TEST_F(LoadRunnerTest, SendsWhatIsPlanned) {
  server_.AddAnswer(WholeAnswer({"a", "b", "c"}));
  server_.AddAnswer(WholeAnswer({"d"}));
  LoadRunner runner(Options(1), &client_, MonotonicClock());
  const auto records =
      runner.Run({Planned({5, 6}, 3), Planned({7}, 1)}, kInterval, [](const LoadProgress&) {});
  ASSERT_THAT(records, SizeIs(2));
  EXPECT_TRUE(records[0].status().ok()) << records[0].status();
  EXPECT_EQ(records[0].output_tokens(), 3);
  EXPECT_EQ(records[1].output_tokens(), 1);
  EXPECT_GT(records[0].end(), records[0].start());
  const auto requests = server_.requests();
  EXPECT_THAT(requests[0].tokens().ids(), ElementsAre(5, 6));
  EXPECT_EQ(requests[0].max_new_tokens(), 3);
  EXPECT_EQ(requests[0].model(), "m");
  EXPECT_TRUE(requests[0].ignore_eos());
}

TEST_F(LoadRunnerTest, GoesOnAfterAFailure) {
  server_.AddAnswer({.events = {}, .status = absl::ResourceExhaustedError("full")});
  server_.AddAnswer(WholeAnswer({"d"}));
  LoadRunner runner(Options(1), &client_, MonotonicClock());
  const auto records =
      runner.Run({Planned({5}, 3), Planned({7}, 1)}, kInterval, [](const LoadProgress&) {});
  ASSERT_THAT(records, SizeIs(2));
  EXPECT_EQ(records[0].status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(records[1].status().ok());
}

TEST_F(LoadRunnerTest, StopEndsWhatIsUnderWayAndSendsNothingMore) {
  for (int i = 0; i < 2; ++i) {
    FakeAnswer endless = WholeAnswer({"a"});
    endless.events.pop_back();
    endless.hang = true;
    server_.AddAnswer(endless);
  }
  LoadRunner runner(Options(2), &client_, MonotonicClock());
  const std::vector<PlannedRequest> plan(5, Planned({5}, 3));
  const auto records = runner.Run(plan, kInterval, [&](const LoadProgress& progress) {
    if (progress.output_tokens == 2) runner.Stop();
  });
  ASSERT_THAT(records, SizeIs(2));
  for (const RequestRecord& record : records) {
    EXPECT_EQ(record.status().code(), absl::StatusCode::kCancelled);
  }
}

TEST_F(LoadRunnerTest, WaitsUntilARequestIsDue) {
  server_.AddAnswer(WholeAnswer({"a"}));
  server_.AddAnswer(WholeAnswer({"b"}));
  PlannedRequest late = Planned({5}, 1);
  late.due = absl::Milliseconds(30);
  LoadRunner runner(Options(2), &client_, MonotonicClock());
  const absl::Time start = MonotonicClock()->Now();
  const auto records = runner.Run({Planned({5}, 1), late}, kInterval, [](const LoadProgress&) {});
  ASSERT_THAT(records, SizeIs(2));
  EXPECT_GE(records[1].end() - start, late.due);
}

TEST_F(LoadRunnerTest, ARequestThatHadToWaitForAnotherIsLate) {
  // One thread: the second is sent when the first has ended, some time after both were due.
  server_.AddAnswer(WholeAnswer({"a"}));
  server_.AddAnswer(WholeAnswer({"b"}));
  PlannedRequest second = Planned({5}, 1);
  second.due = absl::Nanoseconds(1);
  LoadRunner runner(Options(1), &client_, MonotonicClock());
  const auto records = runner.Run({Planned({5}, 1), second}, kInterval, [](const LoadProgress&) {});
  ASSERT_THAT(records, SizeIs(2));
  EXPECT_LT(records[1].start(), records[0].end());
}

TEST_F(LoadRunnerTest, NothingPlannedIsNothingSent) {
  LoadRunner runner(Options(3), &client_, MonotonicClock());
  EXPECT_THAT(runner.Run({}, kInterval, [](const LoadProgress&) {}), SizeIs(0));
}

}  // namespace
}  // namespace phalanx
