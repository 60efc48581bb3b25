// What a request may ask of its answer beside the parameters of sampling.h, with the ranges that
// coordinator and worker both check.
#ifndef PHALANX_MODEL_GENERATION_GENERATION_OPTIONS_H_
#define PHALANX_MODEL_GENERATION_GENERATION_OPTIONS_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace phalanx {

struct LogitBias {
  int32_t token_id = 0;
  float bias = 0.0f;

  bool operator==(const LogitBias&) const = default;
};

// See phalanx.v1.RepetitionLimit; the values are its defaults.
struct RepetitionLimit {
  int32_t times = 4;
  int32_t max_period_tokens = 64;
  int32_t min_tokens = 32;

  bool operator==(const RepetitionLimit&) const = default;
};

// Bounds the reasoning at the beginning of an answer. If a think block is still open when the
// answer has max_tokens tokens, the next ones are close_token_ids.
struct ReasoningLimit {
  int32_t max_tokens = 0;
  // Their text closes the block.
  std::vector<int32_t> close_token_ids = {};
  // Whether the prompt has opened the block. If not, the answer may begin with one.
  bool opened_by_prompt = false;

  bool operator==(const ReasoningLimit&) const = default;
};

struct GenerationOptions {
  // Ascending by token.
  std::vector<LogitBias> logit_bias = {};
  // No token that ends the answer is drawn before it has so many.
  int32_t min_new_tokens = 0;
  // If set, the log-probability of each token is told, and those of so many that were likeliest.
  std::optional<int32_t> log_probs = std::nullopt;
  // If set, an answer that repeats itself ends.
  std::optional<RepetitionLimit> repetition_limit = std::nullopt;
  std::optional<ReasoningLimit> reasoning_limit = std::nullopt;
  // If set, up to so many of the next tokens are guessed and computed in one step.
  std::optional<int32_t> max_draft_tokens = std::nullopt;
  // Tokens after the first are told at least so many at a time.
  int32_t stream_interval = 1;
};

inline constexpr size_t kMaxLogitBiases = 300;
inline constexpr float kMaxLogitBias = 100.0f;
inline constexpr int32_t kMaxTopTokens = 20;
inline constexpr size_t kMaxCloseTokenIds = 64;
inline constexpr int32_t kMaxDraftTokens = 32;
inline constexpr int32_t kDefaultDraftTokens = 8;
inline constexpr int32_t kMaxStreamInterval = 256;

// INVALID_ARGUMENT for the first value outside of its range, as "FIELD: why" with `prefix` before
// the names of what phalanx.v1.Sampling has.
absl::Status CheckGenerationOptions(const GenerationOptions& options, int vocab_size,
                                    int max_new_tokens, absl::string_view prefix = "");

}  // namespace phalanx

#endif  // PHALANX_MODEL_GENERATION_GENERATION_OPTIONS_H_
