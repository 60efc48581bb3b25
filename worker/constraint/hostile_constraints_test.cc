// What strangers may write costs what docs/constraints.md says, whatever it is.
#include "worker/constraint/testing/hostile_constraints.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstdint>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "worker/constraint/constraint.h"
#include "worker/constraint/constraint_check.h"

namespace phalanx {
namespace {

using ::testing::HasSubstr;

// Processor time of a process or, with RUSAGE_CHILDREN, of those that it has started and that have
// ended.
absl::Duration CpuTime(int who) {
  rusage usage = {};
  getrusage(who, &usage);
  return absl::DurationFromTimeval(usage.ru_utime) + absl::DurationFromTimeval(usage.ru_stime);
}

// The most that any process started here has had.
int64_t LargestChildBytes() {
  rusage usage = {};
  getrusage(RUSAGE_CHILDREN, &usage);
  return int64_t{usage.ru_maxrss} << 10;
}

TEST(HostileConstraintsTest, AreRefusedWithinLimitsOfTimeAndMemory) {
  const ConstraintLimits limits;
  // What a process takes that checks nothing: it starts, and makes its small vocabulary.
  ASSERT_TRUE(CheckConstraint({ConstraintKind::kRegex, "a"}, limits, {}).ok());
  const absl::Duration start_time = CpuTime(RUSAGE_CHILDREN);
  const int64_t start_bytes = LargestChildBytes();
  absl::Duration worst;
  for (const HostileConstraint& constraint : HostileConstraints()) {
    const absl::Duration before = CpuTime(RUSAGE_CHILDREN);
    const absl::Status status = CheckConstraint(constraint.source, limits, {});
    const absl::Duration took = CpuTime(RUSAGE_CHILDREN) - before;
    worst = std::max(worst, took);
    std::cout << constraint.name << ": " << took << ", " << status.ToString().substr(0, 150)
              << "\n";
    if (constraint.refused) {
      EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << constraint.name;
    } else {
      EXPECT_TRUE(status.ok()) << constraint.name;
    }
    // The kernel looks at the timer when it ticks, every 10 ms at worst.
    EXPECT_LT(took, limits.max_cpu_time + start_time + absl::Milliseconds(50)) << constraint.name;
  }
  std::cout << "worst " << worst << ", a start " << start_time << ", " << (start_bytes >> 20)
            << " MiB, largest " << (LargestChildBytes() >> 20) << " MiB\n";
  EXPECT_LT(LargestChildBytes(), start_bytes + static_cast<int64_t>(limits.max_memory_bytes));
}

TEST(HostileConstraintsTest, WhatIsAcceptedStaysWithinLimitsWhileTheTextIsWritten) {
  const auto vocabulary = *ConstraintVocabulary::OfBytes({});
  for (const HostileConstraint& hostile : HostileConstraints()) {
    if (hostile.refused) continue;
    absl::Duration worst;
    const absl::Duration before = CpuTime(RUSAGE_SELF);
    const auto constraint = Constraint::Compile(vocabulary, hostile.source, {});
    ASSERT_TRUE(constraint.ok()) << hostile.name;
    absl::Duration last = CpuTime(RUSAGE_SELF);
    EXPECT_LT(last - before, absl::Milliseconds(200)) << hostile.name;
    std::vector<uint32_t> mask(static_cast<size_t>(vocabulary->mask_words()));
    uint32_t random = 1;
    absl::Status status;
    for (int i = 0; i < 300 && status.ok(); ++i) {
      status = (*constraint)->Mask(absl::MakeSpan(mask));
      if (!status.ok()) break;
      std::vector<int32_t> allowed;
      for (int32_t id = 0; id < vocabulary->vocab(); ++id) {
        if ((mask[static_cast<size_t>(id) / 32] >> (id % 32) & 1) != 0) allowed.push_back(id);
      }
      random = random * 1664525 + 1013904223;
      status = (*constraint)->Accept(allowed[(random >> 8) % allowed.size()]);
      const absl::Duration now = CpuTime(RUSAGE_SELF);
      worst = std::max(worst, now - last);
      last = now;
    }
    // It may turn out to be too much, which then is the fault of this request alone.
    EXPECT_TRUE(status.ok() || absl::IsInvalidArgument(status)) << status;
    std::cout << hostile.name << ": worst token " << worst << ", "
              << status.ToString().substr(0, 150) << "\n";
    EXPECT_LT(worst, absl::Milliseconds(50)) << hostile.name;
  }
}

TEST(ConstraintCheckTest, TellsTheReasonOfTheCompiler) {
  const absl::Status status = CheckConstraint({ConstraintKind::kRegex, "(a"}, {}, {});
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("unclosed"));
}

TEST(ConstraintCheckTest, KnowsTheNamedTokens) {
  const ConstraintSource source = {ConstraintKind::kLark, "start: <tool> \"x\""};
  const std::vector<std::string> names = {"<call>", "<tool>"};
  EXPECT_TRUE(CheckConstraint(source, {}, names).ok());
  EXPECT_EQ(CheckConstraint(source, {}, {}).code(), absl::StatusCode::kInvalidArgument);
}

TEST(ConstraintCheckTest, LimitsAreTold) {
  const ConstraintSource slow = {ConstraintKind::kJsonSchema,
                                 R"({"type":"integer","multipleOf":1000003})"};
  ConstraintLimits limits;
  EXPECT_THAT(std::string(CheckConstraint(slow, limits, {}).message()),
              HasSubstr("100ms of computing"));
  limits.max_cpu_time = absl::Seconds(60);
  EXPECT_THAT(std::string(CheckConstraint(slow, limits, {}).message()),
              HasSubstr("64 MiB of memory"));
}

}  // namespace
}  // namespace phalanx
