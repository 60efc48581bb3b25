// Measures how well a model predicts a text.
#ifndef PHALANX_CLIENT_PERPLEXITY_H_
#define PHALANX_CLIENT_PERPLEXITY_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace phalanx {

// Tokens [begin, end) of a text are scored in one call; the scores of [first_counted, end) count.
struct ScoreWindow {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t first_counted = 0;
};

// Windows of at most `window_tokens`, each beginning `stride_tokens` behind the one before, until
// the text is covered. No token counts twice; each has all the context that its first window gives.
// The first of a window without overlap, as the first of the text, follows nothing and does not
// count. Source: "Perplexity of fixed-length models" in the documentation of Hugging Face
// transformers. Needs 2 <= window_tokens and 1 <= stride_tokens <= window_tokens.
std::vector<ScoreWindow> PlanWindows(int64_t num_tokens, int64_t window_tokens,
                                     int64_t stride_tokens);

// Sums natural log-probabilities.
class PerplexitySum {
 public:
  void Add(absl::Span<const float> log_probs);

  int64_t num_tokens() const { return num_tokens_; }
  // There must have been at least one token.
  double nats_per_token() const { return nats_ / static_cast<double>(num_tokens_); }
  double perplexity() const;

 private:
  double nats_ = 0.0;
  int64_t num_tokens_ = 0;
};

}  // namespace phalanx

#endif  // PHALANX_CLIENT_PERPLEXITY_H_
