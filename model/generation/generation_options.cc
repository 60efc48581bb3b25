#include "model/generation/generation_options.h"

#include "absl/strings/str_cat.h"
#include "base/number_text.h"

namespace phalanx {
namespace {

template <typename... Words>
absl::Status Invalid(const Words&... words) {
  return absl::InvalidArgumentError(absl::StrCat(words...));
}

absl::Status CheckLogitBias(const std::vector<LogitBias>& biases, int vocab_size,
                            absl::string_view prefix) {
  if (biases.size() > kMaxLogitBiases) {
    return Invalid(prefix, "logit_bias: ", biases.size(), " tokens, at most ", kMaxLogitBiases);
  }
  int32_t previous = -1;
  for (const auto& [token_id, bias] : biases) {
    if (token_id < 0 || token_id >= vocab_size) {
      return Invalid(prefix, "logit_bias: token ", token_id, " is not in [0, ", vocab_size - 1,
                     "]");
    }
    if (token_id <= previous) return Invalid(prefix, "logit_bias: token ", token_id, " twice");
    previous = token_id;
    // NaN is refused too: all its comparisons are false.
    if (!(bias >= -kMaxLogitBias && bias <= kMaxLogitBias)) {
      return Invalid(prefix, "logit_bias: ", Readable(bias), " for token ", token_id,
                     " is not in [-100, 100]");
    }
  }
  return absl::OkStatus();
}

absl::Status CheckRange(absl::string_view name, int32_t value, int32_t least, int32_t most) {
  if (value >= least && value <= most) return absl::OkStatus();
  return Invalid(name, ": ", value, " is not in [", least, ", ", most, "]");
}

absl::Status CheckReasoningLimit(const ReasoningLimit& limit, int vocab_size) {
  if (limit.max_tokens < 0) {
    return Invalid("reasoning_limit.max_tokens: ", limit.max_tokens, " is below 0");
  }
  const std::vector<int32_t>& ids = limit.close_token_ids;
  if (ids.empty() || ids.size() > kMaxCloseTokenIds) {
    return Invalid("reasoning_limit.close_token_ids: ", ids.size(), " tokens, must be 1 to ",
                   kMaxCloseTokenIds);
  }
  for (const int32_t id : ids) {
    if (id >= 0 && id < vocab_size) continue;
    return Invalid("reasoning_limit.close_token_ids: token ", id, " is not in [0, ", vocab_size - 1,
                   "]");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckGenerationOptions(const GenerationOptions& options, int vocab_size,
                                    int max_new_tokens, absl::string_view prefix) {
  // Update keeps the first error.
  absl::Status status = CheckLogitBias(options.logit_bias, vocab_size, prefix);
  status.Update(CheckRange("min_new_tokens", options.min_new_tokens, 0, max_new_tokens));
  if (options.log_probs) {
    status.Update(CheckRange("log_probs.top", *options.log_probs, 0, kMaxTopTokens));
  }
  if (options.repetition_limit) {
    const RepetitionLimit& limit = *options.repetition_limit;
    status.Update(CheckRange("repetition_limit.times", limit.times, 2, 1000));
    status.Update(
        CheckRange("repetition_limit.max_period_tokens", limit.max_period_tokens, 1, 256));
    status.Update(CheckRange("repetition_limit.min_tokens", limit.min_tokens, 2, 1000000));
  }
  if (options.reasoning_limit) {
    status.Update(CheckReasoningLimit(*options.reasoning_limit, vocab_size));
  }
  if (options.max_draft_tokens) {
    status.Update(
        CheckRange("speculation.max_draft_tokens", *options.max_draft_tokens, 1, kMaxDraftTokens));
  }
  status.Update(CheckRange("stream_interval", options.stream_interval, 1, kMaxStreamInterval));
  return status;
}

}  // namespace phalanx
