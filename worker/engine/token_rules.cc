#include "worker/engine/token_rules.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace phalanx {

using kernels::LogitEdit;

std::unique_ptr<TokenRules> TokenRules::Create(const Sampling& sampling,
                                               const GenerationOptions& options,
                                               absl::Span<const int32_t> end_token_ids,
                                               absl::Span<const int32_t> prompt_token_ids,
                                               std::unique_ptr<TokenFilter> filter,
                                               std::unique_ptr<TokenForcer> forcer) {
  const bool penalizes = sampling.repetition_penalty != 1.0f || sampling.presence_penalty != 0.0f ||
                         sampling.frequency_penalty != 0.0f;
  const bool holds_end = options.min_new_tokens > 0 && !end_token_ids.empty();
  if (!penalizes && !holds_end && options.logit_bias.empty() && filter == nullptr &&
      forcer == nullptr) {
    return nullptr;
  }
  auto rules = std::unique_ptr<TokenRules>(new TokenRules);
  rules->counts_tokens_ = penalizes;
  rules->filter_ = std::move(filter);
  rules->forcer_ = std::move(forcer);
  if (sampling.repetition_penalty != 1.0f) {
    std::vector<int32_t> seen(prompt_token_ids.begin(), prompt_token_ids.end());
    std::sort(seen.begin(), seen.end());
    seen.erase(std::unique(seen.begin(), seen.end()), seen.end());
    rules->edits_.reserve(seen.size());
    for (const int32_t token : seen) rules->edits_.push_back({.token = token, .seen = 1});
  }
  for (const auto& [token, bias] : options.logit_bias) rules->EditOf(token).bias = bias;
  if (holds_end) {
    rules->tokens_to_end_ = options.min_new_tokens;
    for (const int32_t token : end_token_ids) {
      float& bias = rules->EditOf(token).bias;
      // The same token may be named twice.
      if (bias == -std::numeric_limits<float>::infinity()) continue;
      rules->end_biases_.push_back({token, bias});
      bias = -std::numeric_limits<float>::infinity();
    }
  }
  return rules;
}

void TokenRules::WriteEdits(absl::Span<LogitEdit> edits) const {
  std::copy(edits_.begin(), edits_.end(), edits.begin());
}

void TokenRules::Accept(int32_t token) {
  if (counts_tokens_) {
    LogitEdit& edit = EditOf(token);
    edit.seen = 1;
    ++edit.count;
  }
  if (tokens_to_end_ > 0 && --tokens_to_end_ == 0) AllowEnd();
  if (filter_ != nullptr) filter_->Accept(token);
  if (forcer_ != nullptr) forcer_->Accept(token);
}

TokenRules TokenRules::Copy() const {
  TokenRules copy;
  copy.counts_tokens_ = counts_tokens_;
  copy.edits_ = edits_;
  copy.tokens_to_end_ = tokens_to_end_;
  copy.end_biases_ = end_biases_;
  if (filter_ != nullptr) copy.filter_ = filter_->Copy();
  if (forcer_ != nullptr) copy.forcer_ = forcer_->Copy();
  return copy;
}

int TokenRules::CountAllowed(absl::Span<const int32_t> tokens) const {
  const int count = static_cast<int>(tokens.size());
  if (filter_ == nullptr && forcer_ == nullptr) return count;
  TokenRules ahead = Copy();
  for (int i = 0; i < count; ++i) {
    const int32_t forced = ahead.forced();
    if (forced != kernels::kNotForced && forced != tokens[i]) return i;
    ahead.Accept(tokens[i]);
    if (ahead.failed()) return i;
  }
  return count;
}

DrawRules TokenRules::NextDraw() {
  DrawRules draw = {.edits = edits_, .forced = forced()};
  draw.mask.resize(static_cast<size_t>(mask_words()));
  if (!draw.mask.empty()) WriteMask(absl::MakeSpan(draw.mask));
  return draw;
}

std::vector<DrawRules> TokenRules::LookAhead(absl::Span<const int32_t> tokens) {
  std::vector<DrawRules> draws = {NextDraw()};
  TokenRules ahead = Copy();
  for (const int32_t token : tokens) {
    if (ahead.failed()) break;
    ahead.Accept(token);
    if (ahead.failed()) break;
    DrawRules draw = ahead.NextDraw();
    if (ahead.failed()) break;
    draws.push_back(std::move(draw));
  }
  return draws;
}

LogitEdit& TokenRules::EditOf(int32_t token) {
  const auto at =
      std::lower_bound(edits_.begin(), edits_.end(), token,
                       [](const LogitEdit& edit, int32_t other) { return edit.token < other; });
  if (at != edits_.end() && at->token == token) return *at;
  return *edits_.insert(at, {.token = token});
}

void TokenRules::AllowEnd() {
  for (const auto& [token, bias] : end_biases_) EditOf(token).bias = bias;
}

}  // namespace phalanx
