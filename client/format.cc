#include "client/format.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/message_fields.h"
#include "client/error_details.h"
#include "client/json_line.h"
#include "model/generation/sampling.h"

namespace phalanx {
namespace {

Json ToJson(int32_t number) { return number; }
Json ToJson(float number) { return JsonNumber(number); }

Json ToJson(const v1::Sampling& sampling) {
  Json json = Json::object();
  Sampling told;
  VisitSampling(told, [&](const SamplingParameter& parameter, auto& value) {
    if (GetField(sampling, parameter.name, &value)) {
      json[std::string(parameter.name)] = ToJson(value);
    }
  });
  // As a string, because a JSON reader that keeps numbers as doubles would round it.
  if (sampling.has_seed()) json["seed"] = absl::StrCat(sampling.seed());
  return json;
}

Json ToJson(const v1::Started& started) {
  return {{"event", "started"},
          {"request_id", started.request_id()},
          {"model", started.model()},
          {"prompt_tokens", started.prompt_tokens()},
          {"max_new_tokens", started.max_new_tokens()},
          {"sampling", ToJson(started.sampling())}};
}

Json ToJson(const v1::TokenLogProb& token) {
  Json top = Json::array();
  for (const v1::TopToken& other : token.top()) {
    top.push_back({{"token_id", other.token_id()}, {"log_prob", JsonNumber(other.log_prob())}});
  }
  return {{"log_prob", JsonNumber(token.log_prob())}, {"top", std::move(top)}};
}

Json ToJson(const v1::ToolCallDelta& call) {
  Json json = {{"index", call.index()}};
  if (call.has_id()) json["id"] = call.id();
  if (call.has_name()) json["name"] = call.name();
  json["arguments"] = call.arguments();
  if (!call.has_end()) return json;
  json["valid"] = call.end().has_valid() ? Json(call.end().valid()) : Json();
  if (!call.end().problem().empty()) json["problem"] = call.end().problem();
  return json;
}

Json ToJson(const v1::Delta& delta) {
  Json json = {
      {"event", "delta"},
      {"sequence", delta.sequence()},
      {"choice", delta.choice()},
      {"token_ids", std::vector<int32_t>(delta.token_ids().begin(), delta.token_ids().end())},
      {"text", delta.text()},
      {"reasoning_text", delta.reasoning_text()}};
  for (const v1::TokenLogProb& token : delta.log_probs()) {
    json["log_probs"].push_back(ToJson(token));
  }
  for (const v1::ToolCallDelta& call : delta.tool_calls()) {
    json["tool_calls"].push_back(ToJson(call));
  }
  return json;
}

Json ToJson(const v1::PromptLogProbs& prompt) {
  Json log_probs = Json::array();
  for (const float log_prob : prompt.log_probs()) log_probs.push_back(JsonNumber(log_prob));
  return {{"event", "prompt_log_probs"},
          {"position", prompt.position()},
          {"log_probs", std::move(log_probs)}};
}

absl::string_view ReasonName(v1::FinishReason reason) {
  switch (reason) {
    case v1::FINISH_REASON_STOP:
      return "stop";
    case v1::FINISH_REASON_LENGTH:
      return "length";
    case v1::FINISH_REASON_REPETITION:
      return "repetition";
    case v1::FINISH_REASON_REASONING_LENGTH:
      return "reasoning_length";
    case v1::FINISH_REASON_TOOL_CALLS:
      return "tool_calls";
    default:
      return "unspecified";
  }
}

Json ToJson(const v1::Finished& finished) {
  const v1::Timings& timings = finished.timings();
  Json json = {{"event", "finished"},
               {"choice", finished.choice()},
               {"reason", std::string(ReasonName(finished.reason()))}};
  if (finished.has_stop()) json["stop"] = finished.stop();
  if (finished.has_stop_token_id()) json["stop_token_id"] = finished.stop_token_id();
  json["usage"] = {{"prompt_tokens", finished.usage().prompt_tokens()},
                   {"completion_tokens", finished.usage().completion_tokens()},
                   {"reasoning_tokens", finished.usage().reasoning_tokens()},
                   {"cached_tokens", finished.usage().cached_tokens()},
                   {"drafted_tokens", finished.usage().drafted_tokens()},
                   {"accepted_tokens", finished.usage().accepted_tokens()},
                   {"reasoning_closed", finished.usage().reasoning_closed()}};
  json["timings"] = {{"queue_seconds", timings.queue_seconds()},
                     {"prefill_seconds", timings.prefill_seconds()},
                     {"time_to_first_token_seconds", timings.time_to_first_token_seconds()},
                     {"decode_seconds", timings.decode_seconds()}};
  return json;
}

Json ToJson(const v1::RequestLimits& limits) {
  return {{"max_prompt_bytes", limits.max_prompt_bytes()},
          {"max_message_bytes", limits.max_message_bytes()},
          {"max_messages", limits.max_messages()},
          {"max_choices", limits.max_choices()},
          {"max_stop_strings", limits.max_stop_strings()},
          {"max_stop_bytes", limits.max_stop_bytes()},
          {"max_detokenize_tokens", limits.max_detokenize_tokens()},
          {"max_draft_tokens", limits.max_draft_tokens()},
          {"max_stream_interval", limits.max_stream_interval()},
          {"max_requests", limits.max_requests()},
          {"max_queued_texts", limits.max_queued_texts()},
          {"max_unread_bytes", limits.max_unread_bytes()},
          {"stall_seconds", limits.stall_seconds()}};
}

Json DeterminismText(v1::Determinism level) {
  switch (level) {
    case v1::DETERMINISM_STRICT:
      return "strict";
    case v1::DETERMINISM_FAST:
      return "fast";
    default:
      return Json();
  }
}

}  // namespace

absl::string_view GenerateJsonHelp() {
  return "With --json, each line of standard output is one JSON object, its \"event\" one of:\n"
         "  started   request_id, model, prompt_tokens, max_new_tokens,\n"
         "            sampling {the parameters by name, seed (a string)}\n"
         "  prompt_log_probs\n"
         "            position, log_probs, with --prompt_log_probs\n"
         "  delta     sequence, choice, token_ids, text, reasoning_text; with --log_probs also\n"
         "            log_probs [{log_prob, top [{token_id, log_prob}]}]; with --parse_tool_calls\n"
         "            also tool_calls [{index, id, name, arguments, valid, problem}]\n"
         "  finished  choice, reason (stop, length, reasoning_length, repetition or tool_calls),\n"
         "            stop (the string, if one ended the answer), stop_token_id (the token, if "
         "one\n"
         "            did), usage {prompt_tokens, completion_tokens, reasoning_tokens, "
         "cached_tokens,\n"
         "            drafted_tokens, accepted_tokens, reasoning_closed},\n"
         "            timings {queue_seconds, prefill_seconds, time_to_first_token_seconds,\n"
         "            decode_seconds}\n"
         "  error     code, message, and what the server told of reason, field,\n"
         "            retry_after_seconds, request_id: in place of the events that did not come";
}

std::string EventJson(const v1::GenerateEvent& event) {
  switch (event.event_case()) {
    case v1::GenerateEvent::kStarted:
      return JsonLine(ToJson(event.started()));
    case v1::GenerateEvent::kDelta:
      return JsonLine(ToJson(event.delta()));
    case v1::GenerateEvent::kFinished:
      return JsonLine(ToJson(event.finished()));
    case v1::GenerateEvent::kPromptLogProbs:
      return JsonLine(ToJson(event.prompt_log_probs()));
    case v1::GenerateEvent::EVENT_NOT_SET:
      break;
  }
  return JsonLine({{"event", "unknown"}});
}

std::string ErrorJson(const absl::Status& status) {
  Json json = {{"event", "error"},
               {"code", absl::StatusCodeToString(status.code())},
               {"message", std::string(status.message())}};
  const ErrorDetails details = DetailsOf(status);
  if (!details.reason.empty()) json["reason"] = details.reason;
  if (!details.field.empty()) json["field"] = details.field;
  if (details.retry_delay.has_value()) {
    json["retry_after_seconds"] = absl::ToDoubleSeconds(*details.retry_delay);
  }
  if (!details.request_id.empty()) json["request_id"] = details.request_id;
  return JsonLine(json);
}

std::string ModelJson(const v1::Model& model) {
  Json unfollowed = Json::object();
  for (const v1::UnfollowedDefault& value : model.unfollowed_defaults()) {
    unfollowed[value.key()] = value.value();
  }
  const auto tokens = [](bool is_set, int32_t value) { return is_set ? Json(value) : Json(); };
  return JsonLine(
      {{"name", model.name()},
       {"architecture", model.architecture()},
       {"context_tokens", model.context_tokens()},
       {"vocab_size", model.vocab_size()},
       {"eos_token_ids",
        std::vector<int32_t>(model.eos_token_ids().begin(), model.eos_token_ids().end())},
       {"default_sampling", ToJson(model.default_sampling())},
       {"unfollowed_defaults", unfollowed},
       {"default_max_new_tokens",
        tokens(model.has_default_max_new_tokens(), model.default_max_new_tokens())},
       {"default_max_length", tokens(model.has_default_max_length(), model.default_max_length())},
       {"has_chat_template", model.has_chat_template()},
       {"supports_tools", model.supports_tools()},
       {"tool_call_format", model.tool_call_format()},
       {"reasons", model.reasons()},
       {"serving_groups", model.serving_groups()},
       {"weights_digest", model.weights_digest()},
       {"determinism", DeterminismText(model.determinism())},
       {"arithmetic",
        std::vector<std::string>(model.arithmetic().begin(), model.arithmetic().end())},
       {"features", std::vector<std::string>(model.features().begin(), model.features().end())},
       {"limits", ToJson(model.limits())},
       {"fingerprint", model.fingerprint()},
       {"server_version", model.server_version()}});
}

std::string TokensJson(const v1::TokenizeResponse& tokens, const std::vector<std::string>& pieces) {
  Json json = {
      {"token_ids", std::vector<int32_t>(tokens.token_ids().begin(), tokens.token_ids().end())},
      {"pieces", pieces},
      {"text", tokens.text()}};
  if (tokens.pieces().empty()) return JsonLine(json);
  Json spans = Json::array();
  Json bytes = Json::array();
  for (const v1::TokenPiece& piece : tokens.pieces()) {
    spans.push_back({piece.begin(), piece.end()});
    bytes.push_back(absl::BytesToHexString(piece.bytes()));
  }
  json["spans"] = std::move(spans);
  json["piece_bytes"] = std::move(bytes);
  return JsonLine(json);
}

std::string HealthJson(absl::string_view service, ServingState state) {
  return JsonLine(
      {{"service", std::string(service)}, {"status", std::string(ServingStateName(state))}});
}

absl::string_view ServingStateName(ServingState state) {
  switch (state) {
    case ServingState::kServing:
      return "SERVING";
    case ServingState::kNotServing:
      return "NOT_SERVING";
    case ServingState::kUnknown:
      break;
  }
  return "SERVICE_UNKNOWN";
}

std::string ModelTable(const v1::ListModelsResponse& models) {
  size_t width = sizeof("MODEL") - 1;
  for (const v1::Model& model : models.models()) width = std::max(width, model.name().size());
  std::string table = absl::StrFormat("%-*s  %-12s  %8s  %8s  %-8s  %s\n", width, "MODEL",
                                      "ARCHITECTURE", "CONTEXT", "VOCAB", "TEMPLATE", "GROUPS");
  for (const v1::Model& model : models.models()) {
    absl::StrAppendFormat(&table, "%-*s  %-12s  %8d  %8d  %-8s  %d\n", width, model.name(),
                          model.architecture(), model.context_tokens(), model.vocab_size(),
                          model.has_chat_template() ? "yes" : "no", model.serving_groups());
  }
  return table;
}

std::string TokenTable(const v1::TokenizeResponse& tokens, const std::vector<std::string>& pieces) {
  std::string table;
  for (int i = 0; i < tokens.token_ids_size(); ++i) {
    absl::StrAppendFormat(&table, "%8d  ", tokens.token_ids(i));
    if (i < tokens.pieces_size()) {
      const v1::TokenPiece& piece = tokens.pieces(i);
      absl::StrAppendFormat(&table, "%8s  ", absl::StrCat(piece.begin(), "-", piece.end()));
    }
    absl::StrAppend(&table, JsonLine(Json(pieces[i])), "\n");
  }
  return table;
}

std::string PerplexityJson(const PerplexityResult& result) {
  return JsonLine({{"model", result.model},
                   {"tokens", result.tokens},
                   {"nats_per_token", result.nats_per_token},
                   {"perplexity", result.perplexity},
                   {"window", result.window_tokens},
                   {"stride", result.stride_tokens}});
}

std::string PerplexityLine(const PerplexityResult& result) {
  return absl::StrFormat(
      "perplexity %.4f, %d tokens, %.4f nats a token (windows of %d, stride %d)\n",
      result.perplexity, result.tokens, result.nats_per_token, result.window_tokens,
      result.stride_tokens);
}

std::string StatsLine(const StreamStats& stats) {
  std::string line = absl::StrFormat("%d prompt tokens, %d generated", stats.prompt_tokens,
                                     stats.completion_tokens);
  if (stats.completion_tokens > 0) {
    absl::StrAppendFormat(&line, ", first after %.0f ms",
                          absl::ToDoubleMilliseconds(stats.time_to_first_token));
  }
  // decode_time begins with the first token, so the first does not count in the rate.
  if (stats.completion_tokens > 1 && stats.decode_time > absl::ZeroDuration()) {
    absl::StrAppendFormat(&line, ", then %.1f tokens/s",
                          (stats.completion_tokens - 1) / absl::ToDoubleSeconds(stats.decode_time));
  }
  if (stats.drafted_tokens > 0) {
    absl::StrAppendFormat(&line, ", %d of %d guesses right", stats.accepted_tokens,
                          stats.drafted_tokens);
  }
  return line + "\n";
}

}  // namespace phalanx
