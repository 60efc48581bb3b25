// One Generate call.
#ifndef PHALANX_COORDINATOR_SERVER_GENERATE_CALL_H_
#define PHALANX_COORDINATOR_SERVER_GENERATE_CALL_H_

#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "coordinator/server/answer_buffer.h"
#include "coordinator/server/answer_text.h"
#include "coordinator/server/choice.h"
#include "coordinator/server/stream_call.h"
#include "phalanx/v1/inference.pb.h"

namespace phalanx {

// Has one engine request for each choice that the caller asked for.
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
  absl::StatusOr<std::vector<EngineRequest>> Prepare() override;
  void Dispatching(const std::vector<EngineRequest>& requests) override
      EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  void OnCachedTokens(int choice, int cached_tokens) override;
  void OnDraft(int choice, int drafted, int accepted) override;
  void OnTokens(int choice, absl::Span<const int32_t> token_ids,
                absl::Span<const TokenLogProbs> log_probs) override;
  // Of the prompt, and of the first choice only.
  void OnLogProbs(int choice, absl::Span<const float> log_probs) override;
  void OnFinished(int choice, const EngineFinish& finish) override;

  std::optional<Event> TakeEvent() override EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::optional<int> TokensSent() const override EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::string SettleKind(const absl::Status& status, absl::Duration total) override
      EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  int num_choices() const { return request_.has_n() ? request_.n() : 1; }
  EngineRequest MakeEngineRequest(std::vector<int32_t> prompt_token_ids, int max_new_tokens) const;
  AnswerText::Options TextOptions(absl::Span<const int32_t> prompt_token_ids) const;
  // Puts the last event of the choice into buffer_. `finish` is as for Choice::Finished.
  void FinishChoice(int choice, const EngineFinish* finish) EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // Not guarded: written before other threads know of the call, and emptied by Dispatching.
  v1::GenerateRequest request_;

  // Empty until Prepare.
  std::deque<Choice> choices_ GUARDED_BY(mutex_);
  AnswerBuffer buffer_ GUARDED_BY(mutex_);
  // Of the choice that came first with one.
  std::optional<absl::Time> first_token_at_ GUARDED_BY(mutex_);
};

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_SERVER_GENERATE_CALL_H_
