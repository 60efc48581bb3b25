#include "coordinator/server/generate_call.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_format.h"
#include "base/status.h"
#include "coordinator/admission/sampling_message.h"
#include "coordinator/admission/validate.h"
#include "coordinator/server/prompt.h"
#include "coordinator/server/raw_messages.h"
#include "coordinator/server/request_id.h"

namespace phalanx {
namespace {

// Tokens at the end of a prompt that are decoded to look for "<think>". The tag and white space
// behind it take fewer.
constexpr size_t kThinkTagTokens = 16;

v1::FinishReason ReasonOf(const EngineFinish& finish) {
  return finish.reason == EngineFinish::Reason::kEos ? v1::FINISH_REASON_STOP
                                                     : v1::FINISH_REASON_LENGTH;
}

}  // namespace

absl::Status GenerateCall::Parse(const grpc::ByteBuffer& bytes) {
  // An answer that leaves out what a field asks for would look like one that does it.
  RETURN_IF_ERROR(ReadRequest(bytes, environment_.limits.max_message_bytes(), &request_,
                              UnknownFields::kRefuse));
  return ValidateGenerate(request_, environment_.limits);
}

absl::StatusOr<EngineRequest> GenerateCall::Prepare() {
  std::vector<int32_t> prompt;
  if (request_.has_tokens()) {
    prompt.assign(request_.tokens().ids().begin(), request_.tokens().ids().end());
  } else {
    ASSIGN_OR_RETURN(EncodedPrompt encoded,
                     EncodePrompt(*environment_.text, request_, cancelled()));
    prompt = std::move(encoded.token_ids);
  }
  const RequestLimits limits = CurrentLimits(environment_);
  const auto prompt_tokens = static_cast<int64_t>(prompt.size());
  RETURN_IF_ERROR(CheckPromptLength(prompt_tokens, limits));
  ASSIGN_OR_RETURN(
      const int max_new_tokens,
      ResolveMaxNewTokens(
          prompt_tokens,
          request_.has_max_new_tokens() ? std::optional(request_.max_new_tokens()) : std::nullopt,
          limits));
  AnswerText::Options options = TextOptions(prompt);
  // The call may be cancelled meanwhile, on another thread, and SettleKind reads text_.
  MutexLock lock(&mutex_);
  text_.emplace(environment_.text->NewAnswerDecoder(), std::move(options));
  return MakeEngineRequest(std::move(prompt), max_new_tokens);
}

EngineRequest GenerateCall::MakeEngineRequest(std::vector<int32_t> prompt_token_ids,
                                              int max_new_tokens) const {
  const v1::Sampling& sampling = request_.sampling();
  EngineRequest engine_request;
  engine_request.prompt_token_ids = std::move(prompt_token_ids);
  engine_request.max_new_tokens = max_new_tokens;
  if (!request_.ignore_eos()) engine_request.eos_token_ids = environment_.model.eos_token_ids;
  engine_request.sampling = ReadSampling(sampling, environment_.model.defaults.sampling);
  // Started tells the seed, so that an answer can be had again.
  engine_request.seed = sampling.has_seed() ? sampling.seed() : RandomBits64();
  engine_request.long_rope_policy = environment_.model.long_rope_policy;
  engine_request.time_left = TimeLeft();
  engine_request.cache_salt = request_.cache_salt();
  engine_request.priority = request_.priority();
  engine_request.tenant = request_.tenant();
  return engine_request;
}

AnswerText::Options GenerateCall::TextOptions(absl::Span<const int32_t> prompt_token_ids) const {
  AnswerText::Options options;
  options.stops.assign(request_.stop().begin(), request_.stop().end());
  const bool split =
      request_.reasoning().has_split() ? request_.reasoning().split() : environment_.model.reasons;
  if (!split) return options;
  // Many templates end the prompt with "<think>", so that the answer begins inside of the block.
  const size_t tail = std::min(prompt_token_ids.size(), kThinkTagTokens);
  const std::string prompt_end = environment_.text->Decode(prompt_token_ids.last(tail));
  options.reasoning = PromptOpensThinkBlock(prompt_end) ? ReasoningSplitter::State::kReasoning
                                                        : ReasoningSplitter::State::kBeginning;
  return options;
}

void GenerateCall::Dispatching(const EngineRequest& request) {
  // Swapped with an empty message, since Clear would keep the memory: a long prompt need not stay
  // for as long as its answer takes.
  v1::GenerateRequest().Swap(&request_);
  buffer_.Start(MakeStarted(id_.text, environment_, request));
}

void GenerateCall::OnCachedTokens(int cached_tokens) {
  MutexLock lock(&mutex_);
  cached_tokens_ = std::min(cached_tokens, prompt_tokens_);
}

void GenerateCall::OnTokens(absl::Span<const int32_t> token_ids) {
  std::optional<uint64_t> engine_id;
  int64_t buffered_bytes = 0;
  {
    MutexLock lock(&mutex_);
    if (!Listening()) return;
    const AnswerText::Piece piece = text_->Append(token_ids);
    CountTokens(piece.num_tokens);
    buffer_.Append(token_ids.first(piece.num_tokens), piece.answer, piece.reasoning);
    // The engine knows nothing of stop strings and would go on, so it is cancelled.
    if (text_->matched_stop().has_value()) {
      engine_id = EngineIsDone();
      FinishAnswer(v1::FINISH_REASON_STOP, OwnTimings());
    }
    Pump();
    buffered_bytes = buffer_.buffered_bytes();
  }
  // Without mutex_: Cancel takes the registry's lock, and CheckUnread takes this call's.
  if (engine_id.has_value()) environment_.groups->Cancel(*engine_id);
  CheckUnread(buffered_bytes);
}

void GenerateCall::CountTokens(int num_tokens) {
  const absl::Time now = environment_.clock->Now();
  // Tokens that come together share the time since the last ones. The first token of all has no gap
  // before it.
  int later_tokens = num_tokens;
  if (completion_tokens_ == 0) {
    first_token_at_ = last_token_at_ = now;
    environment_.metrics->time_to_first_token.Observe(absl::ToDoubleSeconds(now - arrived_at_));
    --later_tokens;
  }
  for (int i = 0; i < later_tokens; ++i) {
    environment_.metrics->inter_token_latency.Observe(
        absl::ToDoubleSeconds((now - last_token_at_) / later_tokens));
  }
  last_token_at_ = now;
  completion_tokens_ += num_tokens;
  environment_.metrics->generation_tokens.Increment(num_tokens);
}

void GenerateCall::OnFinished(const EngineFinish& finish) {
  MutexLock lock(&mutex_);
  if (!Listening()) return;
  // It has said so itself: there is nothing to cancel.
  EngineIsDone();
  // What was held back may be the beginning of a character, or of a stop string that never came.
  const AnswerText::Piece piece = text_->Finish();
  buffer_.Append({}, piece.answer, piece.reasoning);
  v1::Timings timings = OwnTimings();
  timings.set_queue_seconds(absl::ToDoubleSeconds(dispatched_at_ - arrived_at_ + finish.queue));
  timings.set_prefill_seconds(absl::ToDoubleSeconds(finish.prefill));
  timings.set_decode_seconds(absl::ToDoubleSeconds(finish.decode));
  FinishAnswer(ReasonOf(finish), timings);
  Pump();
}

void GenerateCall::FinishAnswer(v1::FinishReason reason, const v1::Timings& timings) {
  v1::Finished finished;
  finished.set_reason(reason);
  // Also if the engine finished by itself and the text that was held back holds a stop string.
  if (const std::optional<std::string>& stop = text_->matched_stop(); stop.has_value()) {
    finished.set_reason(v1::FINISH_REASON_STOP);
    finished.set_stop(*stop);
  }
  v1::Usage& usage = *finished.mutable_usage();
  usage.set_prompt_tokens(prompt_tokens_);
  usage.set_completion_tokens(completion_tokens_);
  usage.set_reasoning_tokens(text_->reasoning_tokens());
  usage.set_cached_tokens(cached_tokens_);
  *finished.mutable_timings() = timings;
  buffer_.Finish(std::move(finished));
}

v1::Timings GenerateCall::OwnTimings() const {
  v1::Timings timings;
  timings.set_queue_seconds(absl::ToDoubleSeconds(dispatched_at_ - arrived_at_));
  if (completion_tokens_ == 0) return timings;
  timings.set_prefill_seconds(absl::ToDoubleSeconds(first_token_at_ - dispatched_at_));
  timings.set_time_to_first_token_seconds(absl::ToDoubleSeconds(first_token_at_ - arrived_at_));
  timings.set_decode_seconds(absl::ToDoubleSeconds(last_token_at_ - first_token_at_));
  return timings;
}

std::optional<StreamCall::Event> GenerateCall::TakeEvent() {
  const std::optional<v1::GenerateEvent> event = buffer_.Take();
  if (!event.has_value()) return std::nullopt;
  return Event{SerializeMessage(*event), event->has_finished()};
}

std::string GenerateCall::SettleKind(const absl::Status& status, absl::Duration total) {
  if (status.ok()) environment_.metrics->e2e_request_latency.Observe(absl::ToDoubleSeconds(total));
  // There is no text_ yet if the call ends before Prepare does.
  const int reasoning_tokens = text_.has_value() ? text_->reasoning_tokens() : 0;
  environment_.metrics->reasoning_tokens.Increment(reasoning_tokens);
  const absl::Duration first_token =
      completion_tokens_ > 0 ? first_token_at_ - arrived_at_ : absl::ZeroDuration();
  return absl::StrFormat(
      "prompt_tokens=%d cached_tokens=%d completion_tokens=%d reasoning_tokens=%d "
      "first_token_ms=%.1f",
      prompt_tokens_, cached_tokens_, completion_tokens_, reasoning_tokens,
      absl::ToDoubleMilliseconds(first_token));
}

}  // namespace phalanx
