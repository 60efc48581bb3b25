// A token costs no allocation: a step of many sequences allocates as often as a step of one.
#include <cstddef>
#include <memory>
#include <numeric>
#include <optional>

#include "base/clock.h"
#include "base/log.h"
#include "gtest/gtest.h"
#include "model/testing/allocated_bytes.h"
#include "prometheus/registry.h"
#include "worker/engine/engine.h"
#include "worker/engine/testing/free_step_executor.h"

namespace phalanx {
namespace {

constexpr int kSteps = 128;

// How often so many steps allocate in which that many sequences decode, each of which gets new
// blocks, while the prefix cache is full.
size_t AllocationsOfSteps(int sequences, std::optional<int> max_draft_tokens = std::nullopt,
                          int stream_interval = 1) {
  FreeStepExecutor executor;
  prometheus::Registry registry;
  EngineMetrics metrics(registry);
  CountingSink sink;
  Engine engine({.limits = {.max_step_tokens = 1024,
                            .max_seqs = 64,
                            .max_blocks_per_seq = 64,
                            .kv_blocks = 64 * 40},
                 .request_limits = {.vocab_size = 1 << 20, .context_tokens = 1024},
                 .max_waiting_tokens = 1 << 30},
                &executor, MonotonicClock(), &metrics);
  std::unique_ptr<EngineSession> session = engine.OpenSession(&sink).value();
  uint64_t next = 0;
  const auto submit = [&](int prompt_tokens, int max_new_tokens) {
    GenerationRequest request;
    request.prompt_token_ids.resize(prompt_tokens);
    std::iota(request.prompt_token_ids.begin(), request.prompt_token_ids.end(), 1000 * next);
    request.max_new_tokens = max_new_tokens;
    request.options.max_draft_tokens = max_draft_tokens;
    request.options.stream_interval = stream_interval;
    CHECK_OK(session->Submit(RequestId{next++}, std::move(request)));
  };
  while (metrics.kv_blocks_evicted_total.Value() == 0) {
    submit(1000, 1);
    engine.RunOnce();
  }
  for (int i = 0; i < sequences; ++i) submit(100, 900);
  for (int i = 0; i < 150; ++i) engine.RunOnce();
  CHECK(engine.load().running_requests == sequences);
  const double evicted = metrics.kv_blocks_evicted_total.Value();
  const size_t before = Allocations();
  for (int i = 0; i < kSteps; ++i) engine.RunOnce();
  const size_t allocations = Allocations() - before;
  CHECK(metrics.kv_blocks_evicted_total.Value() > evicted);
  CHECK((metrics.accepted_tokens_total.Value() > 0) == max_draft_tokens.has_value());
  session.reset();
  engine.Stop();
  engine.RunOnce();
  return allocations;
}

TEST(EngineAllocationsTest, ATokenAllocatesNothing) {
  const size_t of_one = AllocationsOfSteps(1);
  EXPECT_GT(of_one, 0u) << "they are not counted";
  EXPECT_LE(of_one, 8u * kSteps);
  EXPECT_EQ(AllocationsOfSteps(64), of_one);
}

TEST(EngineAllocationsTest, ATokenThatWaitsAllocatesNothing) {
  const auto of = [](int sequences) {
    return AllocationsOfSteps(sequences, std::nullopt, /*stream_interval=*/8);
  };
  EXPECT_EQ(of(64), of(1));
}

// A text that repeats itself: for new runs of tokens the index grows.
TEST(EngineAllocationsTest, AGuessAllocatesNothing) {
  EXPECT_EQ(AllocationsOfSteps(16, 1), AllocationsOfSteps(1, 1));
}

}  // namespace
}  // namespace phalanx
