#include "coordinator/server/describe_server.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "model/generation/engine_features.h"

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
      {"stream_interval", true},
      {"template_arguments", chat},
      {"token_pieces", true},
      {"tool_choice", limits.has_tool_call_format},
      {"tools", model.supports_tools},
  };
}

void DescribeServer(const ServingEnvironment& environment, v1::Model* model) {
  // A feature that needs a worker group is there if one has it; if none serves, nothing is known.
  const std::vector<std::string> of_groups = EngineFeatures();
  const auto serving = environment.groups->ServingFeatures();
  const auto has_group = [&](const Feature& feature) {
    const std::string name =
        feature.name == "tool_choice" ? std::string(engine_feature::kConstraint) : feature.name;
    const bool needs_group = std::find(of_groups.begin(), of_groups.end(), name) != of_groups.end();
    return !needs_group || !serving.has_value() || serving->count(name) > 0;
  };
  for (const Feature& feature : KnownFeatures(environment.model, environment.limits)) {
    if (feature.offered && has_group(feature)) model->add_features(feature.name);
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
  told.set_max_stream_interval(kMaxStreamInterval);
  told.set_max_requests(environment.server.max_requests);
  told.set_max_queued_texts(environment.server.max_queued_texts);
  told.set_max_unread_bytes(environment.answer.max_buffered_bytes);
  told.set_stall_seconds(absl::ToDoubleSeconds(environment.answer.stall_timeout));
  model->set_fingerprint(environment.server.model_fingerprint);
  model->set_server_version(environment.server.version);
}

}  // namespace phalanx
