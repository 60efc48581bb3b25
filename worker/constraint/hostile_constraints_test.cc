// What strangers may write costs what docs/constraints.md says, whatever it is.
#include "worker/constraint/testing/hostile_constraints.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstdint>
#include <iostream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "worker/constraint/constraint_check.h"
#include "worker/constraint/constraint_source.h"

namespace phalanx {
namespace {

using ::testing::HasSubstr;

// Proof: what a stranger's text costs, whatever it is.
constexpr absl::Duration kMaxCpuTime = absl::Milliseconds(100);

// Processor time of processes that were started here and have ended, and of those that they waited
// for.
absl::Duration CpuTimeOfChildren() {
  rusage usage = {};
  getrusage(RUSAGE_CHILDREN, &usage);
  return absl::DurationFromTimeval(usage.ru_utime) + absl::DurationFromTimeval(usage.ru_stime);
}

TEST(HostileConstraintsTest, AreRefusedWithinLimitsOfTimeAndMemory) {
  const ConstraintLimits limits;
  const absl::Duration before = CpuTimeOfChildren();
  absl::Duration all;
  absl::Duration worst;
  int64_t largest = 0;
  ConstraintChecker::Cost simple;
  {
    ConstraintChecker checker;
    ASSERT_TRUE(checker.Check({ConstraintKind::kRegex, "a"}, limits, {}, &simple).ok());
    all = simple.cpu_time;
    for (const HostileConstraint& constraint : HostileConstraints()) {
      ConstraintChecker::Cost cost;
      const absl::Status status = checker.Check(constraint.source, limits, {}, &cost);
      std::cout << constraint.name << ": " << cost.cpu_time << ", "
                << status.ToString().substr(0, 150) << "\n";
      if (constraint.refused) {
        EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << constraint.name;
      } else {
        EXPECT_TRUE(status.ok()) << constraint.name << ": " << status;
      }
      EXPECT_LT(cost.cpu_time, kMaxCpuTime) << constraint.name;
      EXPECT_LT(cost.memory_bytes,
                simple.memory_bytes + static_cast<int64_t>(limits.max_memory_bytes))
          << constraint.name;
      all += cost.cpu_time;
      worst = std::max(worst, cost.cpu_time);
      largest = std::max(largest, cost.memory_bytes);
    }
  }
  // What the kernel says when all has ended: nothing is missing in these costs but the one start.
  const absl::Duration start = CpuTimeOfChildren() - before - all;
  std::cout << "worst " << worst << ", a simple one " << simple.cpu_time << ", the one start "
            << start << ", largest " << (largest >> 20) << " MiB\n";
  EXPECT_LT(absl::AbsDuration(start), kMaxCpuTime);
}

// 3,000 alternatives with a name each: tens of milliseconds and megabytes.
std::string SlowGrammar() {
  std::string grammar = "start: a0";
  for (int i = 1; i < 3'000; ++i) absl::StrAppend(&grammar, "|a", i);
  for (int i = 0; i < 3'000; ++i) absl::StrAppend(&grammar, "\na", i, ":\"", i, "\"");
  return grammar;
}

TEST(ConstraintCheckerTest, TellsTheReasonOfTheCompiler) {
  ConstraintChecker checker;
  const absl::Status status = checker.Check({ConstraintKind::kRegex, "(a"}, {}, {});
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("unclosed"));
}

TEST(ConstraintCheckerTest, KnowsTheNamedTokensOfEachCheck) {
  ConstraintChecker checker;
  const ConstraintSource source = {ConstraintKind::kLark, "start: <tool> \"x\""};
  const std::vector<std::string> names = {"<call>", "<tool>"};
  EXPECT_TRUE(checker.Check(source, {}, names).ok());
  EXPECT_EQ(checker.Check(source, {}, {}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(checker.Check(source, {}, names).ok());
}

TEST(ConstraintCheckerTest, LimitsAreTold) {
  ConstraintChecker checker;
  const ConstraintSource slow = {ConstraintKind::kLark, SlowGrammar()};
  ConstraintLimits limits;
  limits.max_cpu_time = absl::Milliseconds(20);
  EXPECT_THAT(std::string(checker.Check(slow, limits, {}).message()),
              HasSubstr("20ms of computing"));
  limits.max_cpu_time = absl::Seconds(60);
  limits.max_memory_bytes = size_t{18} << 20;
  EXPECT_THAT(std::string(checker.Check(slow, limits, {}).message()),
              HasSubstr("18 MiB of memory"));
}

TEST(ConstraintCheckerTest, StartsItsProcessAgainIfThatWasEnded) {
  ConstraintChecker checker;
  ASSERT_TRUE(checker.Check({ConstraintKind::kRegex, "a"}, {}, {}).ok());
  const pid_t first = checker.pid();
  ASSERT_GT(first, 0);
  EXPECT_TRUE(checker.Check({ConstraintKind::kRegex, "b"}, {}, {}).ok());
  EXPECT_EQ(checker.pid(), first);
  ASSERT_EQ(kill(first, SIGKILL), 0);
  EXPECT_TRUE(checker.Check({ConstraintKind::kRegex, "c"}, {}, {}).ok());
  EXPECT_NE(checker.pid(), first);
}

TEST(ConstraintCheckerTest, LeavesNoProcess) {
  pid_t pid = -1;
  {
    ConstraintChecker checker;
    ASSERT_TRUE(checker.Check({ConstraintKind::kRegex, "a"}, {}, {}).ok());
    pid = checker.pid();
  }
  EXPECT_EQ(kill(pid, 0), -1);
}

}  // namespace
}  // namespace phalanx
