// How far two ways to compute a model are from each other: what they expect after each token of a
// text.
#ifndef PHALANX_TESTS_QUALITY_TEXT_COMPARISON_H_
#define PHALANX_TESTS_QUALITY_TEXT_COMPARISON_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace phalanx {

// The distribution that a row of logits stands for, ready to be compared with many others.
class NextTokens {
 public:
  explicit NextTokens(absl::Span<const float> logits);

  int32_t best() const { return best_; }
  // The natural logarithm of the token's probability.
  double log_prob(int32_t token) const { return logits_[token] - log_sum_; }
  // The Kullback-Leibler divergence of `other` from this one in nats: the sum over all tokens of
  // p * (ln p - ln q), where p are the probabilities here and q those of `other`.
  double DivergenceOf(const NextTokens& other) const;

 private:
  std::vector<float> logits_;
  std::vector<float> probs_;
  double log_sum_ = 0;
  int32_t best_ = 0;
};

// Means over the tokens of a text.
class TextComparison {
 public:
  // Takes the next token of the text, before which `truth` and `other` were expected.
  void Add(const NextTokens& truth, const NextTokens& other, int32_t next_token);

  int64_t num_tokens() const { return num_tokens_; }
  // Of `other`.
  double perplexity() const;
  double mean_divergence() const { return divergence_ / static_cast<double>(num_tokens_); }
  // The part of the tokens before which both have the same most likely one.
  double agreement() const {
    return static_cast<double>(agreements_) / static_cast<double>(num_tokens_);
  }

 private:
  int64_t num_tokens_ = 0;
  int64_t agreements_ = 0;
  double divergence_ = 0;
  double nats_ = 0;
};

// How many tokens two answers have in common before they differ.
int CommonPrefix(absl::Span<const int32_t> a, absl::Span<const int32_t> b);

}  // namespace phalanx

#endif  // PHALANX_TESTS_QUALITY_TEXT_COMPARISON_H_
