#include "coordinator/server/generate_call.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status.h"
#include "coordinator/admission/generation_message.h"
#include "coordinator/admission/validate.h"
#include "coordinator/admission/validate_constraint.h"
#include "coordinator/admission/validate_tools.h"
#include "coordinator/server/prompt.h"
#include "coordinator/server/raw_messages.h"
#include "coordinator/server/reasoning_limit.h"
#include "coordinator/server/request_id.h"

namespace phalanx {
namespace {

// Tokens at the end of a prompt that are decoded to look for "<think>". The tag and white space
// behind it take fewer.
constexpr size_t kThinkTagTokens = 16;

std::vector<int32_t> StopTokens(const google::protobuf::RepeatedField<int32_t>& ids) {
  return {ids.begin(), ids.end()};
}

// Where the answer begins, by what is taken for reasoning.
EngineConstraint::Begin BeginOf(ReasoningSplitter::State state) {
  switch (state) {
    case ReasoningSplitter::State::kBeginning:
      return EngineConstraint::Begin::kAfterThinkBlock;
    case ReasoningSplitter::State::kReasoning:
      return EngineConstraint::Begin::kInsideThinkBlock;
    case ReasoningSplitter::State::kAnswer:
      break;
  }
  return EngineConstraint::Begin::kAtOnce;
}

// Of a constraint that ValidateConstraint let pass.
EngineConstraint ConstraintFrom(const v1::Constraint& constraint, ReasoningSplitter::State state) {
  using Kind = EngineConstraint::Kind;
  const EngineConstraint::Begin begin = BeginOf(state);
  switch (constraint.kind_case()) {
    case v1::Constraint::kRegex:
      return {Kind::kRegex, constraint.regex(), begin};
    case v1::Constraint::kChoices:
      return {Kind::kChoices, ChoicesText(constraint.choices()), begin};
    case v1::Constraint::kLark:
      return {Kind::kLark, constraint.lark(), begin};
    case v1::Constraint::kJsonSchema:
      return {Kind::kJsonSchema, constraint.json_schema(), begin};
    case v1::Constraint::kJsonObject:
    case v1::Constraint::KIND_NOT_SET:
      break;
  }
  return {Kind::kJsonSchema, R"({"type":"object"})", begin};
}

}  // namespace

absl::Status GenerateCall::Parse(const grpc::ByteBuffer& bytes) {
  // An answer that leaves out what a field asks for would look like one that does it.
  RETURN_IF_ERROR(ReadRequest(bytes, environment_.limits.max_message_bytes(), &request_,
                              UnknownFields::kRefuse));
  return ValidateGenerate(request_, environment_.limits);
}

absl::StatusOr<std::vector<EngineRequest>> GenerateCall::Prepare() {
  if (ForbidsTools(request_)) {
    request_.mutable_chat()->clear_tools();
    request_.clear_parse_tool_calls();
  }
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
  RETURN_IF_ERROR(CheckMinNewTokens(request_.min_new_tokens(), max_new_tokens));
  AnswerText::Options options = TextOptions(prompt);
  if (request_.parse_tool_calls()) {
    ASSIGN_OR_RETURN(options.tools,
                     ToolSet::Create(*environment_.model.tool_call_format, request_.chat()));
  }
  // Each choice is what the same request gets alone with its own seed.
  EngineRequest first = MakeEngineRequest(std::move(prompt), max_new_tokens);
  if (request_.reasoning().has_max_tokens()) {
    ASSIGN_OR_RETURN(ReasoningLimit limit,
                     MakeReasoningLimit(*environment_.text, request_.reasoning().max_tokens(),
                                        options.reasoning, cancelled()));
    options.max_reasoning_tokens = limit.max_tokens;
    // The engine runs faster without a limit, and one that is not below this changes nothing.
    if (limit.max_tokens < max_new_tokens) first.options.reasoning_limit = std::move(limit);
  }
  if (request_.has_constraint()) {
    first.constraint = ConstraintFrom(request_.constraint(), options.reasoning);
  } else if (ForcesToolCall(request_)) {
    const ServedModel& model = environment_.model;
    ASSIGN_OR_RETURN(std::string grammar,
                     ForcedCallGrammar(*model.tool_call_format, model.named_tool_marks, request_));
    first.constraint = EngineConstraint{EngineConstraint::Kind::kLark, std::move(grammar),
                                        BeginOf(options.reasoning)};
  }
  std::vector<EngineRequest> requests(num_choices(), first);
  for (size_t i = 0; i < requests.size(); ++i) requests[i].seed += i;
  requests.front().score = request_.log_probs().prompt() && prompt_tokens > 1;
  // The call may be cancelled meanwhile, on another thread, and SettleKind reads choices_.
  MutexLock lock(&mutex_);
  for (size_t i = 0; i < requests.size(); ++i) {
    choices_.emplace_back(options.tools == nullptr ? environment_.text->NewAnswerDecoder()
                                                   : environment_.text->NewToolAnswerDecoder(),
                          options, StopTokens(request_.stop_token_ids()), environment_.metrics);
  }
  return requests;
}

EngineRequest GenerateCall::MakeEngineRequest(std::vector<int32_t> prompt_token_ids,
                                              int max_new_tokens) const {
  const v1::Sampling& sampling = request_.sampling();
  EngineRequest engine_request;
  engine_request.prompt_token_ids = std::move(prompt_token_ids);
  engine_request.max_new_tokens = max_new_tokens;
  if (!request_.ignore_eos()) engine_request.eos_token_ids = environment_.model.eos_token_ids;
  engine_request.eos_token_ids.insert(engine_request.eos_token_ids.end(),
                                      request_.stop_token_ids().begin(),
                                      request_.stop_token_ids().end());
  engine_request.options = ReadGenerationOptions(request_);
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

void GenerateCall::Dispatching(const std::vector<EngineRequest>& requests) {
  // Swapped with an empty message, since Clear would keep the memory: a long prompt need not stay
  // for as long as its answer takes.
  v1::GenerateRequest().Swap(&request_);
  buffer_.Start(MakeStarted(id_.text, environment_, requests.front()),
                static_cast<int>(requests.size()));
}

void GenerateCall::OnCachedTokens(int choice, int cached_tokens) {
  MutexLock lock(&mutex_);
  choices_[choice].set_cached_tokens(std::min(cached_tokens, prompt_tokens_));
}

void GenerateCall::OnDraft(int choice, int drafted, int accepted) {
  MutexLock lock(&mutex_);
  if (Listening(choice)) choices_[choice].NoteDraft(drafted, accepted);
}

void GenerateCall::OnLogProbs(int choice, absl::Span<const float> log_probs) {
  int64_t buffered_bytes = 0;
  {
    MutexLock lock(&mutex_);
    if (!Listening(choice)) return;
    buffer_.AppendPromptLogProbs(log_probs);
    Pump();
    buffered_bytes = buffer_.buffered_bytes();
  }
  CheckUnread(buffered_bytes);
}

void GenerateCall::OnTokens(int choice, absl::Span<const int32_t> token_ids,
                            absl::Span<const TokenLogProbs> log_probs) {
  std::optional<uint64_t> engine_id;
  int64_t buffered_bytes = 0;
  {
    MutexLock lock(&mutex_);
    if (!Listening(choice)) return;
    const absl::Time now = environment_.clock->Now();
    if (!first_token_at_.has_value()) {
      first_token_at_ = now;
      environment_.metrics->time_to_first_token.Observe(absl::ToDoubleSeconds(now - arrived_at_));
    }
    AnswerText::Piece piece = choices_[choice].Append(token_ids, now);
    buffer_.Append(choice, token_ids.first(piece.num_tokens), piece.answer, piece.reasoning,
                   std::move(piece.tool_calls));
    if (!log_probs.empty()) buffer_.AppendLogProbs(choice, log_probs.first(piece.num_tokens));
    // The engine knows nothing of stop strings and would go on, so it is cancelled.
    if (choices_[choice].stopped()) {
      engine_id = EngineIsDone(choice);
      FinishChoice(choice, nullptr);
    }
    Pump();
    buffered_bytes = buffer_.buffered_bytes();
  }
  // Without mutex_: Cancel takes the registry's lock, and CheckUnread takes this call's.
  if (engine_id.has_value()) environment_.groups->Cancel(*engine_id);
  CheckUnread(buffered_bytes);
}

void GenerateCall::OnFinished(int choice, const EngineFinish& finish) {
  MutexLock lock(&mutex_);
  if (!Listening(choice)) return;
  // It has said so itself: there is nothing to cancel.
  EngineIsDone(choice);
  // What was held back may be the beginning of a character, or of a stop string that never came.
  AnswerText::Piece piece = choices_[choice].Flush();
  buffer_.Append(choice, {}, piece.answer, piece.reasoning, std::move(piece.tool_calls));
  FinishChoice(choice, &finish);
  Pump();
}

void GenerateCall::FinishChoice(int choice, const EngineFinish* finish) {
  buffer_.Finish(choice,
                 choices_[choice].Finished(finish, prompt_tokens_, arrived_at_, dispatched_at_));
}

std::optional<StreamCall::Event> GenerateCall::TakeEvent() {
  const std::optional<v1::GenerateEvent> event = buffer_.Take();
  if (!event.has_value()) return std::nullopt;
  return Event{SerializeMessage(*event), buffer_.all_taken()};
}

std::optional<int> GenerateCall::TokensSent() const {
  int tokens = 0;
  for (const Choice& choice : choices_) tokens += choice.completion_tokens();
  return tokens > 0 ? std::make_optional(tokens) : std::nullopt;
}

std::string GenerateCall::SettleKind(const absl::Status& status, absl::Duration total) {
  if (status.ok()) environment_.metrics->e2e_request_latency.Observe(absl::ToDoubleSeconds(total));
  // Of all choices together. There are none yet if the call ends before Prepare does.
  int completion_tokens = 0;
  int reasoning_tokens = 0;
  int cached_tokens = 0;
  int drafted_tokens = 0;
  int accepted_tokens = 0;
  for (const Choice& choice : choices_) {
    drafted_tokens += choice.drafted_tokens();
    accepted_tokens += choice.accepted_tokens();
    completion_tokens += choice.completion_tokens();
    reasoning_tokens += choice.reasoning_tokens();
    cached_tokens += choice.cached_tokens();
  }
  environment_.metrics->reasoning_tokens.Increment(reasoning_tokens);
  const absl::Duration first_token =
      first_token_at_.has_value() ? *first_token_at_ - arrived_at_ : absl::ZeroDuration();
  std::string words = absl::StrFormat(
      "prompt_tokens=%d cached_tokens=%d completion_tokens=%d reasoning_tokens=%d "
      "first_token_ms=%.1f",
      prompt_tokens_, cached_tokens, completion_tokens, reasoning_tokens,
      absl::ToDoubleMilliseconds(first_token));
  if (drafted_tokens > 0) {
    absl::StrAppend(&words, " drafted_tokens=", drafted_tokens,
                    " accepted_tokens=", accepted_tokens);
  }
  if (choices_.size() > 1) absl::StrAppend(&words, " choices=", choices_.size());
  return words;
}

}  // namespace phalanx
