#include "model/generation/engine_features.h"

namespace phalanx {

std::vector<std::string> EngineFeatures() {
  std::vector<std::string> features;
  for (const absl::string_view feature :
       {engine_feature::kCacheSalt, engine_feature::kConstraint, engine_feature::kLogProbs,
        engine_feature::kLogitBias, engine_feature::kMaxReasoningTokens,
        engine_feature::kMinNewTokens, engine_feature::kPenalties, engine_feature::kRepetitionLimit,
        engine_feature::kScore, engine_feature::kSpeculation}) {
    features.emplace_back(feature);
  }
  return features;
}

std::vector<absl::string_view> FeaturesNeeded(const GenerationOptions& options,
                                              const Sampling& sampling) {
  std::vector<absl::string_view> needed;
  const auto need = [&](bool is_used, absl::string_view feature) {
    if (is_used) needed.push_back(feature);
  };
  const Sampling neutral;
  need(!options.logit_bias.empty(), engine_feature::kLogitBias);
  need(options.min_new_tokens > 0, engine_feature::kMinNewTokens);
  need(options.log_probs.has_value(), engine_feature::kLogProbs);
  need(options.repetition_limit.has_value(), engine_feature::kRepetitionLimit);
  need(options.reasoning_limit.has_value(), engine_feature::kMaxReasoningTokens);
  need(options.max_draft_tokens.has_value(), engine_feature::kSpeculation);
  need(sampling.repetition_penalty != neutral.repetition_penalty ||
           sampling.presence_penalty != neutral.presence_penalty ||
           sampling.frequency_penalty != neutral.frequency_penalty,
       engine_feature::kPenalties);
  return needed;
}

}  // namespace phalanx
