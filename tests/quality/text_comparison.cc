#include "tests/quality/text_comparison.h"

#include <algorithm>
#include <cmath>

namespace phalanx {

NextTokens::NextTokens(absl::Span<const float> logits)
    : logits_(logits.begin(), logits.end()), probs_(logits.size()) {
  const auto best = std::max_element(logits_.begin(), logits_.end());
  best_ = static_cast<int32_t>(best - logits_.begin());
  double sum = 0;
  for (size_t i = 0; i < logits_.size(); ++i) {
    probs_[i] = std::exp(logits_[i] - *best);
    sum += probs_[i];
  }
  const auto factor = static_cast<float>(1 / sum);
  for (float& prob : probs_) prob *= factor;
  log_sum_ = *best + std::log(sum);
}

double NextTokens::DivergenceOf(const NextTokens& other) const {
  double mean = 0;
  for (size_t i = 0; i < probs_.size(); ++i) {
    mean += double{probs_[i]} * (double{logits_[i]} - double{other.logits_[i]});
  }
  return mean - log_sum_ + other.log_sum_;
}

void TextComparison::Add(const NextTokens& truth, const NextTokens& other, int32_t next_token) {
  ++num_tokens_;
  agreements_ += truth.best() == other.best();
  divergence_ += truth.DivergenceOf(other);
  nats_ -= other.log_prob(next_token);
}

double TextComparison::perplexity() const {
  return std::exp(nats_ / static_cast<double>(num_tokens_));
}

int CommonPrefix(absl::Span<const int32_t> a, absl::Span<const int32_t> b) {
  const auto end = a.begin() + std::min(a.size(), b.size());
  return static_cast<int>(std::mismatch(a.begin(), end, b.begin()).first - a.begin());
}

}  // namespace phalanx
