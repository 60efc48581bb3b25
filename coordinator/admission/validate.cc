#include "coordinator/admission/validate.h"

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/number_text.h"
#include "base/status.h"
#include "coordinator/admission/field_error.h"
#include "coordinator/admission/generation_message.h"
#include "coordinator/admission/validate_chat.h"
#include "coordinator/admission/validate_constraint.h"
#include "coordinator/admission/validate_tools.h"

namespace phalanx {
namespace {

constexpr size_t kMaxCacheSaltBytes = 256;
constexpr int kMaxStopTokenIds = 64;
constexpr int32_t kMinPriority = -10;
constexpr int32_t kMaxPriority = 10;
constexpr size_t kMaxTenantBytes = 256;

// NaN is refused too: all its comparisons are false.
template <typename T>
absl::Status CheckRange(absl::string_view field, T value, T min, T max) {
  if (value >= min && value <= max) return absl::OkStatus();
  return Invalid(RefusalKind::kOutOfRange, field,
                 absl::StrCat(Readable(value), " is not in [", min, ", ", max, "]"));
}

template <typename Request>
absl::Status CheckModel(const Request& request, const RequestLimits& limits) {
  if (!request.has_model() || request.model() == limits.model_name) return absl::OkStatus();
  return Refused(RefusalKind::kUnknownModel,
                 absl::NotFoundError(absl::StrCat("model: ", Quoted(request.model()),
                                                  " is unknown, this server has ",
                                                  Quoted(limits.model_name))));
}

absl::Status CheckText(const std::string& text, const RequestLimits& limits) {
  if (text.empty()) return Invalid(RefusalKind::kEmpty, "text", "must not be empty");
  return CheckPromptBytes("text", static_cast<int64_t>(text.size()), limits);
}

// The only thing about add_bos that depends on the input.
absl::Status CheckAddBos(const v1::GenerateRequest& request) {
  if (!request.has_add_bos() || !request.has_tokens()) return absl::OkStatus();
  return Invalid(RefusalKind::kOutOfRange, "add_bos", "tokens are taken as they are");
}

absl::Status CheckTokenIds(absl::string_view field,
                           const google::protobuf::RepeatedField<int32_t>& ids, int vocab) {
  for (int i = 0; i < ids.size(); ++i) {
    if (ids[i] >= 0 && ids[i] < vocab) continue;
    return Invalid(RefusalKind::kOutOfRange, absl::StrCat(field, "[", i, "]"),
                   absl::StrCat(ids[i], " is not in [0, ", vocab - 1, "]"));
  }
  return absl::OkStatus();
}

absl::Status CheckPromptTokens(absl::string_view field, int64_t prompt_tokens,
                               const RequestLimits& limits) {
  if (prompt_tokens < 1) return Invalid(RefusalKind::kEmpty, field, "must not be empty");
  if (prompt_tokens < limits.context_tokens) return absl::OkStatus();
  return Invalid(
      RefusalKind::kTooLong, field,
      absl::StrCat(prompt_tokens, " tokens leave no room for an answer in the context of ",
                   limits.context_tokens, " tokens"));
}

absl::Status CheckStops(const google::protobuf::RepeatedPtrField<std::string>& stops) {
  if (stops.size() > kMaxStops) {
    return Invalid(
        RefusalKind::kTooMany, "stop",
        absl::StrCat(stops.size(), " strings are more than the ", kMaxStops, " allowed"));
  }
  for (int i = 0; i < stops.size(); ++i) {
    RETURN_IF_ERROR(CheckRange<size_t>(absl::StrCat("stop[", i, "]: length"), stops[i].size(), 1,
                                       kMaxStopBytes));
  }
  return absl::OkStatus();
}

absl::Status CheckBiases(const google::protobuf::RepeatedPtrField<v1::LogitBias>& biases) {
  for (int i = 0; i < biases.size(); ++i) {
    for (const auto& [is_set, name] : {std::pair(biases[i].has_token_id(), "token_id"),
                                       std::pair(biases[i].has_bias(), "bias")}) {
      if (is_set) continue;
      return Invalid(RefusalKind::kEmpty, absl::StrCat("sampling.logit_bias[", i, "].", name),
                     "must be set");
    }
  }
  return absl::OkStatus();
}

// Whether the answer is split by default depends on the model, and is looked at later.
absl::Status CheckReasoning(const v1::Reasoning& reasoning) {
  if (!reasoning.has_max_tokens()) return absl::OkStatus();
  RETURN_IF_ERROR(CheckRange<int32_t>("reasoning.max_tokens", reasoning.max_tokens(), 0,
                                      std::numeric_limits<int32_t>::max()));
  if (!reasoning.has_split() || reasoning.split()) return absl::OkStatus();
  return Invalid(RefusalKind::kUnsupported, "reasoning.max_tokens",
                 "cannot be set together with reasoning.split: false");
}

}  // namespace

absl::Status ValidateGenerate(const v1::GenerateRequest& request, const RequestLimits& limits) {
  RETURN_IF_ERROR(CheckModel(request, limits));
  // Defaults do not matter here: they are always in range.
  const absl::Status sampling =
      CheckSampling(ReadSampling(request.sampling(), Sampling()), "sampling.");
  if (!sampling.ok()) return Refused(RefusalKind::kOutOfRange, sampling);
  RETURN_IF_ERROR(CheckBiases(request.sampling().logit_bias()));
  const absl::Status options = CheckGenerationOptions(ReadGenerationOptions(request), limits.vocab,
                                                      limits.context_tokens - 1, "sampling.");
  if (!options.ok()) return Refused(RefusalKind::kOutOfRange, options);
  RETURN_IF_ERROR(CheckReasoning(request.reasoning()));
  RETURN_IF_ERROR(CheckStops(request.stop()));
  if (request.stop_token_ids_size() > kMaxStopTokenIds) {
    return Invalid(RefusalKind::kTooMany, "stop_token_ids",
                   absl::StrCat(request.stop_token_ids_size(), " tokens are more than the ",
                                kMaxStopTokenIds, " allowed"));
  }
  RETURN_IF_ERROR(CheckTokenIds("stop_token_ids", request.stop_token_ids(), limits.vocab));
  // An empty salt is refused, since it would be no other than none, which is shared.
  if (request.has_cache_salt()) {
    RETURN_IF_ERROR(CheckRange<size_t>("cache_salt: length", request.cache_salt().size(), 1,
                                       kMaxCacheSaltBytes));
  }
  RETURN_IF_ERROR(CheckRange("priority", request.priority(), kMinPriority, kMaxPriority));
  if (request.has_tenant()) {
    RETURN_IF_ERROR(
        CheckRange<size_t>("tenant: length", request.tenant().size(), 1, kMaxTenantBytes));
  }
  RETURN_IF_ERROR(CheckAddBos(request));
  if (request.has_n()) RETURN_IF_ERROR(CheckRange<int32_t>("n", request.n(), 1, kMaxChoices));
  if (request.has_max_new_tokens()) {
    RETURN_IF_ERROR(CheckRange<int32_t>("max_new_tokens", request.max_new_tokens(), 1,
                                        limits.context_tokens - 1));
  }
  RETURN_IF_ERROR(ValidateConstraint(request));
  // Without a chat there are no tools, which is what these refusals say.
  if (!request.has_chat()) RETURN_IF_ERROR(ValidateToolUse(request, limits));
  switch (request.input_case()) {
    case v1::GenerateRequest::kText:
      return CheckText(request.text(), limits);
    case v1::GenerateRequest::kChat:
      RETURN_IF_ERROR(ValidateChat(request.chat(), limits));
      return ValidateToolUse(request, limits);
    case v1::GenerateRequest::kTokens:
      RETURN_IF_ERROR(CheckPromptTokens("tokens.ids", request.tokens().ids_size(), limits));
      return CheckTokenIds("tokens.ids", request.tokens().ids(), limits.vocab);
    case v1::GenerateRequest::INPUT_NOT_SET:
      break;
  }
  return Invalid(RefusalKind::kEmpty, "input", "one of text, chat and tokens must be set");
}

namespace {

// The max_new_tokens of a request that does not set it.
absl::StatusOr<int> DefaultMaxNewTokens(int64_t prompt_tokens, int room,
                                        const RequestLimits& limits) {
  if (limits.default_max_new_tokens > 0) return std::min(limits.default_max_new_tokens, room);
  if (limits.default_max_length == 0) return room;
  const int64_t left = limits.default_max_length - prompt_tokens;
  if (left > 0) return static_cast<int>(std::min<int64_t>(left, room));
  return Invalid(
      RefusalKind::kTooLong, "max_new_tokens",
      absl::StrCat("must be set: the model's own max_length of ", limits.default_max_length,
                   " leaves nothing after ", prompt_tokens, " prompt tokens"));
}

}  // namespace

absl::Status CheckPromptLength(int64_t prompt_tokens, const RequestLimits& limits) {
  return CheckPromptTokens("prompt", prompt_tokens, limits);
}

absl::StatusOr<int> ResolveMaxNewTokens(int64_t prompt_tokens,
                                        std::optional<int32_t> max_new_tokens,
                                        const RequestLimits& limits) {
  const int room = limits.context_tokens - static_cast<int>(prompt_tokens);
  if (!max_new_tokens.has_value()) return DefaultMaxNewTokens(prompt_tokens, room, limits);
  if (*max_new_tokens >= 1 && *max_new_tokens <= room) return *max_new_tokens;
  return Invalid(
      RefusalKind::kTooLong, "max_new_tokens",
      absl::StrCat(*max_new_tokens, " is not in [1, ", room, "], the room that ", prompt_tokens,
                   " prompt tokens leave in the context of ", limits.context_tokens));
}

absl::Status CheckMinNewTokens(int32_t min_new_tokens, int max_new_tokens) {
  return CheckRange<int32_t>("min_new_tokens", min_new_tokens, 0, max_new_tokens);
}

absl::Status ValidateScore(const v1::ScoreRequest& request, const RequestLimits& limits) {
  RETURN_IF_ERROR(CheckModel(request, limits));
  switch (request.input_case()) {
    case v1::ScoreRequest::kText:
      return CheckText(request.text(), limits);
    case v1::ScoreRequest::kTokens:
      RETURN_IF_ERROR(CheckScoreTokens(request.tokens().ids_size(), limits));
      return CheckTokenIds("tokens.ids", request.tokens().ids(), limits.vocab);
    case v1::ScoreRequest::INPUT_NOT_SET:
      break;
  }
  return Invalid(RefusalKind::kEmpty, "input", "one of text and tokens must be set");
}

absl::Status CheckScoreTokens(int64_t num_tokens, const RequestLimits& limits) {
  if (num_tokens < 2) {
    return Invalid(RefusalKind::kEmpty, "input",
                   absl::StrCat(num_tokens, " tokens; what follows nothing has no score"));
  }
  if (num_tokens <= limits.context_tokens) return absl::OkStatus();
  return Invalid(RefusalKind::kTooLong, "input",
                 absl::StrCat(num_tokens, " tokens are more than the context of ",
                              limits.context_tokens, "; score them in windows"));
}

absl::Status ValidateTokenize(const v1::TokenizeRequest& request, const RequestLimits& limits) {
  RETURN_IF_ERROR(CheckModel(request, limits));
  switch (request.input_case()) {
    case v1::TokenizeRequest::kText:
      return CheckText(request.text(), limits);
    case v1::TokenizeRequest::kChat:
      return ValidateChat(request.chat(), limits);
    case v1::TokenizeRequest::INPUT_NOT_SET:
      break;
  }
  return Invalid(RefusalKind::kEmpty, "input", "one of text and chat must be set");
}

absl::Status ValidateDetokenize(const v1::DetokenizeRequest& request, const RequestLimits& limits) {
  RETURN_IF_ERROR(CheckModel(request, limits));
  if (request.token_ids_size() > limits.max_detokenize_tokens) {
    return Invalid(RefusalKind::kTooMany, "token_ids",
                   absl::StrCat(request.token_ids_size(), " ids are more than the ",
                                limits.max_detokenize_tokens, " allowed"));
  }
  return CheckTokenIds("token_ids", request.token_ids(), limits.vocab);
}

absl::Status ValidateGetModel(const v1::GetModelRequest& request, const RequestLimits& limits) {
  return CheckModel(request, limits);
}

}  // namespace phalanx
