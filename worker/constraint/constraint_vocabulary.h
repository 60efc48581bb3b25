// A model's tokens as grammars see them.
#ifndef PHALANX_WORKER_CONSTRAINT_CONSTRAINT_VOCABULARY_H_
#define PHALANX_WORKER_CONSTRAINT_CONSTRAINT_VOCABULARY_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "model/text/tokenizer_assets.h"

namespace phalanx {

// Made once for a model; immutable, so any thread may use it.
//
// A normal token stands for its bytes, whatever vocabulary it is from. A user-defined token, such
// as <tool_call>, is allowed only where a Lark grammar names it. Control tokens are never allowed,
// but for those that end a turn: they are allowed where the text may end, and nowhere else.
class ConstraintVocabulary {
 public:
  // `vocab` is the number of the model's logits, of which those beyond the tokens are never
  // allowed. FAILED_PRECONDITION if the model has no token that ends a text, or one outside
  // `vocab`.
  static absl::StatusOr<std::shared_ptr<const ConstraintVocabulary>> Create(
      const TokenizerAssets& assets, int vocab);

  // The same for the 256 bytes and these named tokens, whose ids follow them; then one that ends.
  // It is quickly made, and what can be compiled for it can be compiled for every vocabulary that
  // has the same named tokens.
  static absl::StatusOr<std::shared_ptr<const ConstraintVocabulary>> OfBytes(
      absl::Span<const std::string> named_tokens);

  ConstraintVocabulary(const ConstraintVocabulary&) = delete;
  ConstraintVocabulary& operator=(const ConstraintVocabulary&) = delete;
  ~ConstraintVocabulary();

  int vocab() const { return vocab_; }
  // How many words a mask has: one bit for each of the model's logits.
  int mask_words() const { return (vocab_ + 31) / 32; }
  // Ascending.
  const std::vector<int32_t>& end_token_ids() const { return end_token_ids_; }
  // The spellings of the tokens that a grammar can name.
  const std::vector<std::string>& named_tokens() const { return named_tokens_; }

  // The bytes that a token adds to the text; none for control tokens.
  absl::string_view TextOf(int32_t token) const;

  // Of the library; lent.
  const void* handle() const { return handle_; }

 private:
  ConstraintVocabulary() = default;

  int vocab_ = 0;
  std::vector<int32_t> end_token_ids_;
  std::vector<std::string> named_tokens_;
  // The texts of all tokens in a row, and where each begins; the end of the last is last.
  std::string text_;
  std::vector<uint32_t> text_begins_;
  void* handle_ = nullptr;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_CONSTRAINT_CONSTRAINT_VOCABULARY_H_
