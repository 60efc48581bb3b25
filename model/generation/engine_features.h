// What a worker group may not be able to do, in words that it and its coordinators share.
#ifndef PHALANX_MODEL_GENERATION_ENGINE_FEATURES_H_
#define PHALANX_MODEL_GENERATION_ENGINE_FEATURES_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "model/generation/generation_options.h"
#include "model/generation/sampling.h"

namespace phalanx {

// A group names its features in Hello, by the names of the public API's features (docs/api.md) that
// need a worker. A group that does not know a field of a request would not see it and answer as if
// it were not there, so such a request goes only to groups that name the field's feature. A name is
// never given another meaning; a new field of a request that changes the answer gets a new one.
namespace engine_feature {

inline constexpr absl::string_view kCacheSalt = "cache_salt";
// Not every group of this version: docs/constraints.md tells what it takes.
inline constexpr absl::string_view kConstraint = "constraint";
inline constexpr absl::string_view kLogitBias = "logit_bias";
inline constexpr absl::string_view kLogProbs = "log_probs";
inline constexpr absl::string_view kMaxReasoningTokens = "max_reasoning_tokens";
inline constexpr absl::string_view kMinNewTokens = "min_new_tokens";
inline constexpr absl::string_view kPenalties = "penalties";
inline constexpr absl::string_view kRepetitionLimit = "repetition_limit";
inline constexpr absl::string_view kScore = "score";
inline constexpr absl::string_view kSpeculation = "speculation";

}  // namespace engine_feature

// All features that this version has, in order of their names.
std::vector<std::string> EngineFeatures();

// Those that `options` and `sampling` need, in no order.
std::vector<absl::string_view> FeaturesNeeded(const GenerationOptions& options,
                                              const Sampling& sampling);

}  // namespace phalanx

#endif  // PHALANX_MODEL_GENERATION_ENGINE_FEATURES_H_
