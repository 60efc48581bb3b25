// What the tests of the engine share.
#ifndef PHALANX_WORKER_ENGINE_TESTING_ENGINE_FIXTURE_H_
#define PHALANX_WORKER_ENGINE_TESTING_ENGINE_FIXTURE_H_

#include <cstdint>
#include <memory>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "base/testing/fake_clock.h"
#include "gtest/gtest.h"
#include "worker/engine/engine.h"
#include "worker/engine/testing/fake_step_executor.h"
#include "worker/engine/testing/recording_sink.h"

namespace phalanx {

inline constexpr int kVocab = 1000;
inline constexpr RequestId kFirst{1};
inline constexpr RequestId kSecond{2};
inline constexpr RequestId kThird{3};

inline std::vector<int32_t> Prompt(int num_tokens, int first_token = 1) {
  std::vector<int32_t> prompt(num_tokens);
  std::iota(prompt.begin(), prompt.end(), first_token);
  return prompt;
}

inline GenerationRequest Request(std::vector<int32_t> prompt, int max_new_tokens) {
  GenerationRequest request;
  request.prompt_token_ids = std::move(prompt);
  request.max_new_tokens = max_new_tokens;
  return request;
}

// An engine whose loop the test turns by hand; each step takes ten milliseconds.
class EngineTest : public ::testing::Test {
 protected:
  EngineTest() { Start({}); }

  struct Sizes {
    int step_tokens = 64;
    int seqs = 8;
    int blocks = 64;
    int max_waiting = 16;
    int64_t max_waiting_tokens = 100'000;
    int steps_in_flight = 1;
    bool prefix_cache = true;
    int original_context_tokens = 0;
  };

  // Makes a new engine in place of the one there is.
  void Start(const Sizes& sizes, std::unique_ptr<ConstraintCompiler> constraints = nullptr) {
    session_.reset();
    engine_.reset();
    const StepLimits limits = {.max_step_tokens = sizes.step_tokens,
                               .max_seqs = sizes.seqs,
                               .max_blocks_per_seq = 64,
                               .kv_blocks = sizes.blocks};
    registry_ = std::make_unique<prometheus::Registry>();
    metrics_ = std::make_unique<EngineMetrics>(*registry_);
    executor_ = std::make_unique<FakeStepExecutor>(limits, kVocab, sizes.steps_in_flight);
    executor_->OnStep([this](const Step&) { clock_.Advance(absl::Milliseconds(10)); });
    engine_ = std::make_unique<Engine>(
        Engine::Options{
            .limits = limits,
            .request_limits = {.vocab_size = kVocab,
                               .context_tokens = 1024,
                               .original_context_tokens = sizes.original_context_tokens},
            .max_waiting = sizes.max_waiting,
            .max_waiting_tokens = sizes.max_waiting_tokens,
            .prefix_cache = sizes.prefix_cache},
        executor_.get(), &clock_, metrics_.get(), std::move(constraints));
    sink_ = std::make_unique<RecordingSink>();
    session_ = engine_->OpenSession(sink_.get()).value();
  }

  absl::Status Submit(RequestId id, GenerationRequest request) {
    return session_->Submit(id, std::move(request));
  }

  void RunSteps(int count) {
    for (int i = 0; i < count; ++i) ASSERT_TRUE(engine_->RunOnce());
  }

  void RunUntilIdle() {
    while (engine_->load().running_requests + engine_->load().waiting_requests > 0) {
      ASSERT_TRUE(engine_->RunOnce());
    }
  }

  void ExpectIdle() {
    EXPECT_EQ(engine_->load().running_requests, 0);
    EXPECT_EQ(engine_->load().waiting_requests, 0);
    EXPECT_EQ(engine_->load().used_kv_blocks, 0);
    EXPECT_EQ(metrics_->requests_running.Value(), 0);
    EXPECT_EQ(metrics_->requests_waiting.Value(), 0);
    EXPECT_EQ(engine_->load().waiting_tokens, 0);
    EXPECT_EQ(metrics_->kv_blocks_used.Value(), 0);
  }

  double RequestsCounted(const std::string& code) {
    for (const auto& family : registry_->Collect()) {
      if (family.name != "phalanx_engine_requests_total") continue;
      for (const auto& series : family.metric) {
        if (series.label.at(0).value == code) return series.counter.value;
      }
    }
    return -1;
  }

  FakeClock clock_;
  std::unique_ptr<prometheus::Registry> registry_;
  std::unique_ptr<EngineMetrics> metrics_;
  std::unique_ptr<FakeStepExecutor> executor_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<RecordingSink> sink_;
  std::unique_ptr<EngineSession> session_;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_ENGINE_TESTING_ENGINE_FIXTURE_H_
