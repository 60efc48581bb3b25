// One Score call.
#ifndef PHALANX_COORDINATOR_SERVER_SCORE_CALL_H_
#define PHALANX_COORDINATOR_SERVER_SCORE_CALL_H_

#include <optional>
#include <string>
#include <vector>

#include "coordinator/server/stream_call.h"
#include "phalanx/v1/inference.pb.h"

namespace phalanx {

class ScoreCall final : public StreamCall {
 public:
  ScoreCall(const ServingEnvironment* environment, grpc::CallbackServerContext* context)
      : StreamCall(environment, "Score", context) {}

 private:
  absl::Status Parse(const grpc::ByteBuffer& bytes) override;
  std::optional<int64_t> TextBytes() const override {
    if (!request_.has_text()) return std::nullopt;
    return static_cast<int64_t>(request_.ByteSizeLong());
  }
  absl::StatusOr<std::vector<EngineRequest>> Prepare() override;
  void Dispatching(const std::vector<EngineRequest>& requests) override
      EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // Of no interest: prompts that are scored are computed whole.
  void OnCachedTokens(int index, int cached_tokens) override {}
  // Never called: the registry passes no tokens to a request that asked to score.
  void OnDraft(int index, int drafted, int accepted) override {}
  void OnTokens(int index, absl::Span<const int32_t> token_ids,
                absl::Span<const TokenLogProbs> log_probs) override {}
  void OnLogProbs(int index, absl::Span<const float> log_probs) override;
  void OnFinished(int index, const EngineFinish& finish) override;

  std::optional<Event> TakeEvent() override EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::string SettleKind(const absl::Status& status, absl::Duration total) override
      EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // Not guarded: written before other threads know of the call, and emptied by Dispatching.
  v1::ScoreRequest request_;

  // What the client has not taken yet: first started_, then what is in delta_, then finished_.
  std::optional<v1::ScoreStarted> started_ GUARDED_BY(mutex_);
  v1::ScoreDelta delta_ GUARDED_BY(mutex_);
  std::optional<v1::ScoreFinished> finished_ GUARDED_BY(mutex_);

  int scored_tokens_ GUARDED_BY(mutex_) = 0;
};

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_SERVER_SCORE_CALL_H_
