// Random histories: whatever comes, stays or goes, in whatever order, every request gets exactly
// its own tokens, also if the result of a step comes when the next one is planned already.
// FakeStepExecutor checks each step on the way. 2,300 histories of 200 turns make more than a
// million submissions, cancellations and steps.
#include <algorithm>
#include <iostream>
#include <map>
#include <memory>
#include <vector>

#include "base/testing/fake_clock.h"
#include "gtest/gtest.h"
#include "kernels/step_batch.h"
#include "worker/engine/engine.h"
#include "worker/engine/testing/fake_step_executor.h"
#include "worker/engine/testing/histories.h"
#include "worker/engine/testing/recording_sink.h"

namespace phalanx {
namespace {

constexpr int kVocab = 50;

class RandomHistory {
 public:
  explicit RandomHistory(uint64_t seed) : random_(seed) {
    limits_.max_seqs = Draw(1, 6);
    limits_.max_step_tokens = limits_.max_seqs + Draw(0, 40);
    limits_.max_blocks_per_seq = 8;
    limits_.kv_blocks = Draw(2, 20);
    original_context_tokens_ = Draw(0, 1) == 0 ? 0 : Draw(1, 80);
    max_in_flight_ = Draw(1, 2);
    executor_ = std::make_unique<FakeStepExecutor>(limits_, kVocab, max_in_flight_);
    executor_->OnStep([this](const Step&) { clock_.Advance(absl::Milliseconds(1)); });
    if (Draw(0, 2) > 0) executor_->RepeatEvery(Draw(1, 6));
    metrics_ = std::make_unique<EngineMetrics>(registry_);
    engine_ = std::make_unique<Engine>(
        Engine::Options{.limits = limits_,
                        .request_limits = {.vocab_size = kVocab,
                                           .context_tokens = 128,
                                           .original_context_tokens = original_context_tokens_},
                        .max_waiting = 8},
        executor_.get(), &clock_, metrics_.get());
    session_ = engine_->OpenSession(&sink_).value();
  }

  void Run(const HistoryInput& input) {
    for (const uint64_t operation : input.operations) {
      random_ = HistoryRandom(operation);
      if (input.tell) std::cout << "turn " << operation << ", " << next_id_ << " were asked\n";
      for (int i = Draw(0, 2); i > 0; --i) Submit();
      if (Draw(0, 9) == 0) CancelOne();
      ASSERT_TRUE(engine_->RunOnce());
      CheckLoad();
    }
    while (engine_->load().running_requests + engine_->load().waiting_requests > 0) {
      ASSERT_TRUE(engine_->RunOnce());
      CheckLoad();
    }
    // A step that was planned before the last request ended.
    for (int i = 1; i < max_in_flight_; ++i) ASSERT_TRUE(engine_->RunOnce());
    for (const auto& [id, asked] : asked_) CheckAnswer(id, asked);
    EXPECT_EQ(engine_->load().used_kv_blocks, 0);
    // A request that is cancelled in its first step never hears of it.
    EXPECT_GE(metrics_->prefix_cache_hit_tokens_total.Value(), cached_tokens_);
  }

  int64_t cached_tokens() const { return cached_tokens_; }
  int64_t drafted_tokens() const {
    return static_cast<int64_t>(metrics_->drafted_tokens_total.Value());
  }
  int64_t accepted_tokens() const {
    return static_cast<int64_t>(metrics_->accepted_tokens_total.Value());
  }
  int64_t operations() const { return operations_ + executor_->steps(); }
  int64_t split_steps() const { return executor_->split_steps(); }
  int64_t refused_early() const {
    return static_cast<int64_t>(metrics_->deadline_refusals_total.Value());
  }

 private:
  struct Asked {
    GenerationRequest request;
    bool cancelled = false;
  };

  int Draw(int low, int high) { return random_.Draw(low, high); }

  void Submit() {
    ++operations_;
    Asked asked;
    asked.request.prompt_token_ids.resize(Draw(1, 70));
    for (int32_t& token : asked.request.prompt_token_ids) token = Draw(0, kVocab - 1);
    // Most prompts begin like another one, which may have had another salt or rotary list.
    if (Draw(0, 4) > 0) {
      std::vector<int32_t>& prompt = asked.request.prompt_token_ids;
      const auto length = std::min<size_t>(Draw(0, 70), beginning_.size());
      prompt.insert(prompt.begin(), beginning_.begin(), beginning_.begin() + length);
      prompt.resize(std::min<size_t>(prompt.size(), 70));
      if (Draw(0, 3) == 0) beginning_ = prompt;
    }
    if (Draw(0, 3) == 0) asked.request.cache_salt = "salt";
    if (Draw(0, 1) == 0) asked.request.priority = Draw(kMinPriority, kMaxPriority);
    if (Draw(0, 2) == 0) asked.request.tenant = Draw(0, 1) == 0 ? "a" : "b";
    asked.request.score = Draw(0, 4) == 0;
    asked.request.max_new_tokens = asked.request.score ? 0 : Draw(1, 50);
    if (Draw(0, 1) == 0) asked.request.long_rope_policy = LongRopePolicy::kAdmission;
    if (Draw(0, 1) == 0) asked.request.eos_token_ids = {Draw(0, kVocab - 1)};
    if (Draw(0, 1) == 0) asked.request.options.max_draft_tokens = Draw(1, 8);
    // The model does not mind, but such a request's steps may come in two parts.
    if (Draw(0, 2) == 0) asked.request.sampling.frequency_penalty = 0.5f;
    if (Draw(0, 3) == 0) asked.request.timeout = absl::Milliseconds(Draw(0, 80));
    const RequestId id{next_id_++};
    if (session_->Submit(id, asked.request).ok()) asked_[id] = asked;
  }

  void CancelOne() {
    ++operations_;
    const RequestId id{static_cast<uint64_t>(Draw(0, static_cast<int>(next_id_)))};
    session_->Cancel(id);
    if (const auto it = asked_.find(id); it != asked_.end()) it->second.cancelled = true;
  }

  void CheckLoad() {
    const EngineLoad load = engine_->load();
    EXPECT_LE(load.running_requests, limits_.max_seqs);
    EXPECT_LE(load.used_kv_blocks, limits_.kv_blocks);
    // A sequence that outgrows its rotary list has no blocks until the next plan.
    if (original_context_tokens_ > 0) return;
    EXPECT_GE(load.used_kv_blocks, load.running_requests);
    // Otherwise steps in flight may still have blocks of requests that have ended.
    if (max_in_flight_ == 1) {
      EXPECT_EQ(load.used_kv_blocks == 0, load.running_requests == 0);
    }
  }

  void CheckAnswer(RequestId id, const Asked& asked) {
    const RecordingSink::Record record = sink_.Get(id);
    EXPECT_TRUE(record.cached_tokens == 0 || !asked.request.score);
    EXPECT_EQ(record.cached_tokens % kernels::kKvBlockTokens, 0);
    EXPECT_TRUE(record.cached_tokens == 0 ||
                record.cached_tokens < static_cast<int>(asked.request.prompt_token_ids.size()));
    cached_tokens_ += record.cached_tokens;
    const std::vector<int32_t>& prompt = asked.request.prompt_token_ids;
    const RopePlan rope = PlanRope(asked.request.long_rope_policy, original_context_tokens_,
                                   static_cast<int>(prompt.size()), asked.request.max_new_tokens);
    std::vector<int32_t> whole;
    std::vector<float> log_probs;
    if (asked.request.score) {
      log_probs = executor_->LogProbs(prompt, rope.list);
    } else {
      whole = executor_->Continuation(prompt, asked.request.max_new_tokens, rope);
    }
    for (const int32_t eos : asked.request.eos_token_ids) {
      const auto it = std::find(whole.begin(), whole.end(), eos);
      if (it != whole.end()) whole.erase(it + 1, whole.end());
    }
    if (record.finished.has_value()) {
      EXPECT_EQ(record.tokens, whole);
      EXPECT_EQ(record.log_probs, log_probs);
      return;
    }
    ASSERT_LE(record.log_probs.size(), log_probs.size());
    log_probs.resize(record.log_probs.size());
    EXPECT_EQ(record.log_probs, log_probs);
    ASSERT_LE(record.tokens.size(), whole.size());
    whole.resize(record.tokens.size());
    EXPECT_EQ(record.tokens, whole);
    if (record.error.ok()) {
      EXPECT_TRUE(asked.cancelled);
    } else {
      EXPECT_EQ(record.error.code(), absl::StatusCode::kDeadlineExceeded);
      EXPECT_NE(asked.request.timeout, absl::InfiniteDuration());
    }
  }

  HistoryRandom random_;
  StepLimits limits_;
  int max_in_flight_ = 1;
  int original_context_tokens_ = 0;
  FakeClock clock_;
  prometheus::Registry registry_;
  std::unique_ptr<EngineMetrics> metrics_;
  std::unique_ptr<FakeStepExecutor> executor_;
  std::unique_ptr<Engine> engine_;
  RecordingSink sink_;
  std::unique_ptr<EngineSession> session_;
  uint64_t next_id_ = 0;
  std::vector<int32_t> beginning_;
  int64_t cached_tokens_ = 0;
  int64_t operations_ = 0;
  std::map<RequestId, Asked> asked_;
};

TEST(EngineHistoryTest, EveryRequestGetsItsOwnTokensInAnyHistory) {
  const HistoryTotals totals = RunHistories(2300, 200, [](const HistoryInput& input) {
    RandomHistory history(input.seed);
    history.Run(input);
    return HistoryTotals{history.operations(),      history.cached_tokens(),
                         history.refused_early(),   history.drafted_tokens(),
                         history.accepted_tokens(), history.split_steps()};
  });
  if (HasFailure()) return;
  EXPECT_GT(totals[0], 1'000'000);
  EXPECT_GT(totals[1], 50'000) << "the prefix cache was hardly used";
  EXPECT_GT(totals[2], 100);
  EXPECT_GT(totals[4], 50'000) << "hardly any guess was right";
  EXPECT_GT(totals[3] - totals[4], 10'000) << "hardly any guess was wrong";
  EXPECT_GT(totals[5], 20'000) << "hardly any step came in two parts";
}

}  // namespace
}  // namespace phalanx
