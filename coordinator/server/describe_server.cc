#include "coordinator/server/describe_server.h"

#include "absl/time/time.h"

namespace phalanx {

std::vector<Feature> KnownFeatures(const ServedModel& model, const RequestLimits& limits) {
  const bool chat = limits.has_chat_template;
  return {
      {"add_bos", model.has_bos_token},
      {"allow_special", true},
      {"cache_salt", true},
      {"chat", chat},
      {"constraint", true},
      {"continue_last_message", chat},
      {"log_probs", true},
      {"logit_bias", true},
      {"max_reasoning_tokens", true},
      {"min_new_tokens", true},
      {"n", true},
      {"parse_tool_calls", limits.has_tool_call_format},
      {"penalties", true},
      {"repetition_limit", true},
      {"score", true},
      {"speculation", true},
      {"split_reasoning", true},
      {"stop", true},
      {"stop_token_ids", true},
      {"template_arguments", chat},
      {"token_pieces", true},
      {"tool_choice", limits.has_tool_call_format},
      {"tools", model.supports_tools},
  };
}

void DescribeServer(const ServingEnvironment& environment, v1::Model* model) {
  for (const Feature& feature : KnownFeatures(environment.model, environment.limits)) {
    if (feature.offered) model->add_features(feature.name);
  }
  const RequestLimits& limits = environment.limits;
  v1::RequestLimits& told = *model->mutable_limits();
  told.set_max_prompt_bytes(limits.max_prompt_bytes);
  told.set_max_message_bytes(limits.max_message_bytes());
  told.set_max_messages(limits.max_messages);
  told.set_max_choices(kMaxChoices);
  told.set_max_stop_strings(kMaxStops);
  told.set_max_stop_bytes(static_cast<int32_t>(kMaxStopBytes));
  told.set_max_detokenize_tokens(limits.max_detokenize_tokens);
  told.set_max_draft_tokens(kMaxDraftTokens);
  told.set_max_requests(environment.server.max_requests);
  told.set_max_queued_texts(environment.server.max_queued_texts);
  told.set_max_unread_bytes(environment.answer.max_buffered_bytes);
  told.set_stall_seconds(absl::ToDoubleSeconds(environment.answer.stall_timeout));
  model->set_fingerprint(environment.server.model_fingerprint);
  model->set_server_version(environment.server.version);
}

}  // namespace phalanx
