// One Generate call.
#ifndef PHALANX_COORDINATOR_SERVER_GENERATE_CALL_H_
#define PHALANX_COORDINATOR_SERVER_GENERATE_CALL_H_

#include <optional>
#include <string>
#include <vector>

#include "coordinator/server/answer_buffer.h"
#include "coordinator/server/answer_text.h"
#include "coordinator/server/stream_call.h"
#include "phalanx/v1/inference.pb.h"

namespace phalanx {

class GenerateCall final : public StreamCall {
 public:
  GenerateCall(const ServingEnvironment* environment, grpc::CallbackServerContext* context)
      : StreamCall(environment, "Generate", context) {}

 private:
  absl::Status Parse(const grpc::ByteBuffer& bytes) override;
  std::optional<int64_t> TextBytes() const override {
    if (request_.has_tokens()) return std::nullopt;
    return static_cast<int64_t>(request_.ByteSizeLong());
  }
  absl::StatusOr<EngineRequest> Prepare() override;
  void Dispatching(const EngineRequest& request) override EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  void OnCachedTokens(int cached_tokens) override;
  void OnTokens(absl::Span<const int32_t> token_ids) override;
  // Never called: the registry passes log-probabilities only to requests that asked to score.
  void OnLogProbs(absl::Span<const float> log_probs) override {}
  void OnFinished(const EngineFinish& finish) override;

  std::optional<Event> TakeEvent() override EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::string SettleKind(const absl::Status& status, absl::Duration total) override
      EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  EngineRequest MakeEngineRequest(std::vector<int32_t> prompt_token_ids, int max_new_tokens) const;
  AnswerText::Options TextOptions(absl::Span<const int32_t> prompt_token_ids) const;
  void CountTokens(int num_tokens) EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Puts the last event into buffer_.
  void FinishAnswer(v1::FinishReason reason, const v1::Timings& timings)
      EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The times that are known here, without the engine's report.
  v1::Timings OwnTimings() const EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // Not guarded: written before other threads know of the call, and emptied by Dispatching.
  v1::GenerateRequest request_;

  std::optional<AnswerText> text_ GUARDED_BY(mutex_);
  AnswerBuffer buffer_ GUARDED_BY(mutex_);
  int completion_tokens_ GUARDED_BY(mutex_) = 0;
  int cached_tokens_ GUARDED_BY(mutex_) = 0;
  absl::Time first_token_at_ GUARDED_BY(mutex_);
  absl::Time last_token_at_ GUARDED_BY(mutex_);
};

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_SERVER_GENERATE_CALL_H_
