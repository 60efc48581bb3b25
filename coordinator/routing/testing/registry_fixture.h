// A registry with groups and sinks that remember what they were told.
#ifndef PHALANX_COORDINATOR_ROUTING_TESTING_REGISTRY_FIXTURE_H_
#define PHALANX_COORDINATOR_ROUTING_TESTING_REGISTRY_FIXTURE_H_

#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "base/testing/fake_clock.h"
#include "coordinator/routing/group_registry.h"
#include "gtest/gtest.h"
#include "model/generation/engine_features.h"

namespace phalanx {

// Remembers what it was asked for.
class FakeSession final : public GroupSession {
 public:
  void Submit(const EngineRequest& request) override {
    MutexLock lock(&mutex_);
    submitted_.push_back(request.id);
    newest_ = request;
  }
  void Cancel(uint64_t request_id) override {
    MutexLock lock(&mutex_);
    cancelled_.push_back(request_id);
  }
  std::vector<uint64_t> submitted() const {
    MutexLock lock(&mutex_);
    return submitted_;
  }
  // The newest of them.
  EngineRequest newest() const {
    MutexLock lock(&mutex_);
    return newest_;
  }
  std::vector<uint64_t> cancelled() const {
    MutexLock lock(&mutex_);
    return cancelled_;
  }

 private:
  mutable Mutex mutex_;
  std::vector<uint64_t> submitted_ GUARDED_BY(mutex_);
  EngineRequest newest_ GUARDED_BY(mutex_);
  std::vector<uint64_t> cancelled_ GUARDED_BY(mutex_);
};

// Remembers what it heard; a second end is a failure.
class FakeSink final : public GenerationSink {
 public:
  void OnAccepted() override {
    EXPECT_EQ(ends, 0);
    EXPECT_EQ(++acceptances, 1);
  }
  void OnStarted() override {
    EXPECT_EQ(ends, 0);
    EXPECT_EQ(acceptances, 1);
    EXPECT_EQ(++starts, 1);
  }
  void OnCachedTokens(int tokens_in_cache) override {
    EXPECT_EQ(ends, 0);
    EXPECT_EQ(starts, 1);
    EXPECT_TRUE(tokens.empty());
    cached_tokens = tokens_in_cache;
  }
  void OnDraft(int drafted, int accepted) override {
    EXPECT_EQ(starts, 1);
    drafted_tokens += drafted;
    accepted_tokens += accepted;
  }
  void OnTokens(absl::Span<const int32_t> token_ids, absl::Span<const TokenLogProbs>) override {
    EXPECT_EQ(ends, 0);
    EXPECT_EQ(starts, 1);
    tokens.insert(tokens.end(), token_ids.begin(), token_ids.end());
  }
  void OnLogProbs(absl::Span<const float> new_log_probs) override {
    EXPECT_EQ(ends, 0);
    EXPECT_EQ(acceptances, 1);
    log_probs.insert(log_probs.end(), new_log_probs.begin(), new_log_probs.end());
  }
  void OnFinished(const EngineFinish& finish) override {
    EXPECT_EQ(++ends, 1);
    reason = finish.reason;
    queue = finish.queue;
  }
  void OnFailed(const absl::Status& failure) override {
    EXPECT_EQ(++ends, 1);
    status = failure;
  }

  std::vector<int32_t> tokens;
  std::vector<float> log_probs;
  std::atomic<int> acceptances = 0;
  std::atomic<int> starts = 0;
  std::atomic<int> ends = 0;
  int cached_tokens = 0;
  int drafted_tokens = 0;
  int accepted_tokens = 0;
  EngineFinish::Reason reason = EngineFinish::Reason::kLength;
  absl::Duration queue;
  absl::Status status;
};

class RegistryTest : public ::testing::Test {
 protected:
  RegistryTest() {
    for (int i = 0; i < kNumMoveReasons; ++i) moves_[static_cast<MoveReason>(i)] = 0;
  }

  struct Worker {
    GroupId id;
    std::shared_ptr<FakeSession> session;
  };

  Worker Connect(const std::string& address, int context_tokens = 1000,
                 const std::vector<std::string>& features = EngineFeatures()) {
    Worker worker{registry_.Add(address), std::make_shared<FakeSession>()};
    registry_.SessionStarted(worker.id, worker.session);
    EXPECT_TRUE(registry_
                    .HelloReceived(worker.id, {.model_fingerprint = "feed",
                                               .context_tokens = context_tokens,
                                               .world = 2,
                                               .weights_digest = "cafe",
                                               .features = features})
                    .ok());
    registry_.HealthChanged(worker.id, true);
    return worker;
  }

  static EngineRequest Request(int prompt_tokens = 4, int max_new_tokens = 8) {
    EngineRequest request;
    request.prompt_token_ids.assign(prompt_tokens, 1);
    request.max_new_tokens = max_new_tokens;
    return request;
  }

  void Disconnect(const Worker& worker) {
    registry_.SessionEnded(worker.id, absl::UnavailableError("socket closed"));
  }

  FakeClock clock_;
  int changes_ = 0;
  std::map<MoveReason, std::atomic<int>> moves_;
  GroupRegistry registry_{{.model_fingerprint = "feed",
                           .vocab = 10,
                           .on_move = [this](MoveReason reason) { ++moves_.at(reason); }},
                          &clock_,
                          [this] { ++changes_; }};
};

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_ROUTING_TESTING_REGISTRY_FIXTURE_H_
