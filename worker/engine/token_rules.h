// What one sequence asks of its next token beyond its sampling parameters, by what it has drawn so
// far. The arithmetic of it all is in docs/sampling.md.
#ifndef PHALANX_WORKER_ENGINE_TOKEN_RULES_H_
#define PHALANX_WORKER_ENGINE_TOKEN_RULES_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "kernels/step_batch.h"
#include "model/generation/generation_options.h"
#include "model/generation/sampling.h"

namespace phalanx {

// Allows some tokens only, by what the answer has so far. Engine thread only.
class TokenFilter {
 public:
  virtual ~TokenFilter() = default;

  // Words of a mask with a bit for each token (kernels::MaskWords), or 0 while all are allowed.
  virtual int mask_words() const = 0;
  // Sets the bits of the tokens that may come next and clears the others, in mask_words() words.
  virtual void WriteMask(absl::Span<uint32_t> words) = 0;
  // The answer goes on with a token.
  virtual void Accept(int32_t token) = 0;
  // Why the answer cannot go on, for the caller; then no token is allowed. Else OK.
  virtual absl::Status status() const = 0;
  // A filter at the same place.
  virtual std::unique_ptr<TokenFilter> Copy() const = 0;
};

// Dictates tokens, by what the answer has so far. Engine thread only.
class TokenForcer {
 public:
  virtual ~TokenForcer() = default;

  // The token that comes next whatever the logits are, or kernels::kNotForced.
  virtual int32_t next() const = 0;
  // The answer goes on with a token.
  virtual void Accept(int32_t token) = 0;
  // A forcer at the same place.
  virtual std::unique_ptr<TokenForcer> Copy() const = 0;
};

// What the rules ask of one draw.
struct DrawRules {
  std::vector<kernels::LogitEdit> edits = {};
  // Empty while all tokens are allowed.
  std::vector<uint32_t> mask = {};
  int32_t forced = kernels::kNotForced;
};

// The rules of one sequence. Whoever draws for a sequence that has rules must know all its tokens.
// Engine thread only.
class TokenRules {
 public:
  // Null if a request has no rules. `end_token_ids` are those that end the answer. `filter` and
  // `forcer` may be null.
  static std::unique_ptr<TokenRules> Create(const Sampling& sampling,
                                            const GenerationOptions& options,
                                            absl::Span<const int32_t> end_token_ids,
                                            absl::Span<const int32_t> prompt_token_ids,
                                            std::unique_ptr<TokenFilter> filter = nullptr,
                                            std::unique_ptr<TokenForcer> forcer = nullptr);

  // The edits of the next draw's logits.
  int num_edits() const { return static_cast<int>(edits_.size()); }
  void WriteEdits(absl::Span<kernels::LogitEdit> edits) const;

  int mask_words() const { return filter_ == nullptr ? 0 : filter_->mask_words(); }
  void WriteMask(absl::Span<uint32_t> words) { filter_->WriteMask(words); }

  // The token that the next draw takes whatever the logits are, or kernels::kNotForced.
  int32_t forced() const { return forcer_ == nullptr ? kernels::kNotForced : forcer_->next(); }

  // The sequence goes on with a token.
  void Accept(int32_t token);

  // How many of `tokens`, from the first on, the sequence may go on with. A filter may think more
  // of them allowed than it will allow. Makes no mask.
  int CountAllowed(absl::Span<const int32_t> tokens) const;
  // What is asked of the draws before each of `tokens` and after the last of them, if the sequence
  // goes on with these: tokens.size() + 1 draws, or fewer, at least one, if it may not go on with
  // one of them or the mask behind it cannot be made. The first is the next draw, and fails as that
  // does: its mask is empty of tokens then.
  std::vector<DrawRules> LookAhead(absl::Span<const int32_t> tokens);

 private:
  TokenRules() = default;
  // Rules at the same place.
  TokenRules Copy() const;
  DrawRules NextDraw();
  bool failed() const { return filter_ != nullptr && !filter_->status().ok(); }

  // The token's element of edits_, which is made if there is none.
  kernels::LogitEdit& EditOf(int32_t token);
  // Lets tokens that end the answer be drawn from now on.
  void AllowEnd();

  // Whether it matters which tokens prompt and answer have.
  bool counts_tokens_ = false;
  // Ascending by token.
  std::vector<kernels::LogitEdit> edits_;
  // How many tokens the answer still needs before it may end, and the biases that the tokens which
  // end it have then.
  int32_t tokens_to_end_ = 0;
  std::vector<LogitBias> end_biases_;
  std::unique_ptr<TokenFilter> filter_;
  std::unique_ptr<TokenForcer> forcer_;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_ENGINE_TOKEN_RULES_H_
