#include "worker/memory_plan.h"

#include <memory>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/ops.h"
#include "model/testing/tiny_model.h"

namespace phalanx {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

constexpr int64_t kMiB = int64_t{1} << 20;

class MemoryPlanTest : public testing::Test {
 protected:
  MemoryPlanTest() : checkpoint_(*Checkpoint::Open(WriteTinyModel("memory_plan.gguf"))) {
    spec_.context_tokens = 8192;
  }

  MemoryPlanner Planner(int world) const {
    auto planner = MemoryPlanner::Create(*checkpoint_, world, backend_.get());
    EXPECT_TRUE(planner.ok()) << planner.status();
    return *std::move(planner);
  }

  // The tokens that the KV cache gets, or the error.
  absl::StatusOr<int> Plan(const WorkerOptions& options, const FreeMemory& free) {
    ModelSpec spec = spec_;
    const auto limits = Planner(options.group_size()).PlanGroup(options, {.free = free}, spec);
    if (!limits.ok()) return limits.status();
    context_tokens_ = spec.context_tokens;
    return limits->kv_blocks * kernels::kKvBlockTokens;
  }

  const std::unique_ptr<Checkpoint> checkpoint_;
  const std::unique_ptr<kernels::Backend> backend_ = *kernels::MakeCpuBackend({});
  ModelSpec spec_ = checkpoint_->spec();
  int context_tokens_ = 0;
};

TEST_F(MemoryPlanTest, WithoutAFlagThereIsTheDefaultOrWhatIsFree) {
  const WorkerOptions options;
  EXPECT_EQ(*Plan(options, {}), kDefaultKvCacheTokens);
  EXPECT_EQ(context_tokens_, 8192);
  EXPECT_EQ(*Plan(options, {.machine = int64_t{1} << 40}), kDefaultKvCacheTokens);
  int before = kDefaultKvCacheTokens;
  for (const int64_t mebibytes : {117, 113, 110}) {
    const absl::StatusOr<int> tokens = Plan(options, {.machine = mebibytes * kMiB});
    ASSERT_TRUE(tokens.ok()) << tokens.status();
    EXPECT_LT(*tokens, before);
    EXPECT_GE(*tokens, 256);
    EXPECT_EQ(context_tokens_, std::min(8192, *tokens));
    before = *tokens;
    // The group's limit counts as the machine's does.
    EXPECT_EQ(*Plan(options, {.machine = int64_t{1} << 40, .cgroup = mebibytes * kMiB}), *tokens);
  }
}

TEST_F(MemoryPlanTest, WhatWasAskedForIsGivenOrRefusedWithTheTable) {
  WorkerOptions options;
  options.kv_cache_tokens = 1 << 28;
  EXPECT_EQ(*Plan(options, {}), 1 << 28);
  const absl::Status status = Plan(options, {.machine = 200 * kMiB, .cgroup = 150 * kMiB}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("KV cache of 268435456 tokens"), HasSubstr("rank 0"),
                    HasSubstr("free in the machine (MemAvailable): 200 MiB"),
                    HasSubstr("free in the control group of this process: 150 MiB"),
                    HasSubstr("give --kv_cache_tokens ")));
  // The number that it names is the largest that fits.
  const std::string message(status.message());
  int named = std::stoi(message.substr(message.find("give --kv_cache_tokens ") + 23));
  options.kv_cache_tokens = named;
  EXPECT_TRUE(Plan(options, {.machine = 200 * kMiB, .cgroup = 150 * kMiB}).ok());
  options.kv_cache_tokens = named + 16 + 16;
  EXPECT_FALSE(Plan(options, {.machine = 200 * kMiB, .cgroup = 150 * kMiB}).ok());
}

TEST_F(MemoryPlanTest, RanksOfOneMachineCountTogether) {
  WorkerOptions options;
  options.kv_cache_tokens = 256;
  EXPECT_TRUE(Plan(options, {.machine = 150 * kMiB}).ok());
  options.tp = 2;
  const absl::Status status = Plan(options, {.machine = 150 * kMiB}).status();
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("rank 1"), HasSubstr("together"), HasSubstr("smaller --tp than 2")));
  EXPECT_FALSE(Plan(options, {.cgroup = 150 * kMiB}).ok());
  // Ranks that others start may have control groups of their own.
  options.tp = 1;
  options.world = 2;
  EXPECT_FALSE(Plan(options, {.machine = 150 * kMiB}).ok());
  EXPECT_TRUE(Plan(options, {.cgroup = 150 * kMiB}).ok());
  const MemoryPlanner planner = Planner(2);
  const StepLimits limits = *MakeStepLimits(options, [&] {
    ModelSpec spec = spec_;
    spec.context_tokens = 256;
    return spec;
  }());
  EXPECT_TRUE(planner.CheckRank(1, limits, {.free = {.cgroup = 150 * kMiB}}).ok());
  const absl::Status refused = planner.CheckRank(1, limits, {.free = {.cgroup = 100 * kMiB}});
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(refused.message()), AllOf(HasSubstr("rank 1"), Not(HasSubstr("rank 0"))));
}

TEST_F(MemoryPlanTest, AModelThatCannotFitSaysWhatHelps) {
  const WorkerOptions options;
  const absl::Status status = Plan(options, {.machine = 90 * kMiB}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("weights of a smaller type"), HasSubstr("--max_step_tokens (256)"),
                    Not(HasSubstr("--tp"))));
  EXPECT_FALSE(Plan(options, {.cgroup = -5}).ok());
}

TEST_F(MemoryPlanTest, AContextThatWasAskedForIsTheLeast) {
  WorkerOptions options;
  options.context_tokens = 8000;
  EXPECT_EQ(*Plan(options, {}), kDefaultKvCacheTokens);
  const absl::Status status = Plan(options, {.machine = 106 * kMiB}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("8000 are needed for --context_tokens"));
}

// As ranks on GPUs have.
TEST_F(MemoryPlanTest, MemoryOfEachRankIsFilledUp) {
  const auto plan = [&](const WorkerOptions& options, int64_t bytes) -> absl::StatusOr<int> {
    ModelSpec spec = spec_;
    const auto limits = Planner(options.group_size())
                            .PlanGroup(options,
                                       {.free = {.machine = bytes},
                                        .name = "GPU 0",
                                        .of_each_rank = true,
                                        .overhead = 7 * kMiB,
                                        .overhead_name = "CUDA",
                                        .is_to_be_filled = true},
                                       spec);
    if (!limits.ok()) return limits.status();
    return limits->kv_blocks * kernels::kKvBlockTokens;
  };
  WorkerOptions options;
  options.max_seqs = 4;
  // No more than the requests that may run can use.
  EXPECT_EQ(*plan(options, int64_t{1} << 40), 4 * 8192);
  const absl::StatusOr<int> alone = plan(options, 14 * kMiB);
  ASSERT_TRUE(alone.ok()) << alone.status();
  EXPECT_LT(*alone, 4 * 8192);
  // One block more would not fit.
  options.kv_cache_tokens = *alone;
  EXPECT_TRUE(plan(options, 14 * kMiB).ok());
  options.kv_cache_tokens = *alone + 16;
  EXPECT_FALSE(plan(options, 14 * kMiB).ok());
  // Two ranks have half of it each, and so much memory each.
  options.kv_cache_tokens = 0;
  options.tp = 2;
  EXPECT_GT(*plan(options, 14 * kMiB), *alone);
  const absl::Status status = plan(options, 6 * kMiB).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("free in GPU 0: 6"), HasSubstr("CUDA"), Not(HasSubstr("together")),
                    HasSubstr("a larger --tp than 2")));
}

}  // namespace
}  // namespace phalanx
