#include "coordinator/admission/generation_message.h"

#include "absl/algorithm/container.h"
#include "base/message_fields.h"

namespace phalanx {

Sampling ReadSampling(const v1::Sampling& message, const Sampling& defaults) {
  Sampling sampling = defaults;
  VisitSampling(sampling, [&](const SamplingParameter& parameter, auto& value) {
    GetField(message, parameter.name, &value);
  });
  return sampling;
}

void WriteSampling(const Sampling& sampling, v1::Sampling* message) {
  VisitSampling(sampling, [&](const SamplingParameter& parameter, auto value) {
    SetField(parameter.name, value, message);
  });
}

GenerationOptions ReadGenerationOptions(const v1::GenerateRequest& request) {
  GenerationOptions options;
  for (const v1::LogitBias& bias : request.sampling().logit_bias()) {
    options.logit_bias.push_back({bias.token_id(), bias.bias()});
  }
  absl::c_stable_sort(options.logit_bias, [](const LogitBias& a, const LogitBias& b) {
    return a.token_id < b.token_id;
  });
  options.min_new_tokens = request.min_new_tokens();
  if (request.has_log_probs()) options.log_probs = request.log_probs().top();
  if (request.has_repetition_limit()) {
    const v1::RepetitionLimit& message = request.repetition_limit();
    RepetitionLimit& limit = options.repetition_limit.emplace();
    if (message.has_times()) limit.times = message.times();
    if (message.has_max_period_tokens()) limit.max_period_tokens = message.max_period_tokens();
    if (message.has_min_tokens()) limit.min_tokens = message.min_tokens();
  }
  if (request.has_speculation()) {
    options.max_draft_tokens = request.speculation().has_max_draft_tokens()
                                   ? request.speculation().max_draft_tokens()
                                   : kDefaultDraftTokens;
  }
  if (request.has_stream_interval()) options.stream_interval = request.stream_interval();
  return options;
}

}  // namespace phalanx
