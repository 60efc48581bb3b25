// tokenizer.json, the file of Hugging Face tokenizers.
#ifndef PHALANX_MODEL_TEXT_TOKENIZER_JSON_H_
#define PHALANX_MODEL_TEXT_TOKENIZER_JSON_H_

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/files/json.h"
#include "model/text/tokenizer_assets.h"

namespace phalanx {

// The assets that the parsed file at `path` tells: a byte-level BPE with its splitting rules, added
// tokens and first token. Chat templates, bos without a first token, and eos are in other files.
// `vocab` is how many rows the model's table has. DATA_LOSS for missing or inconsistent values,
// UNIMPLEMENTED for a tokenizer that is not supported; both name the file and the key. A key that
// nobody knows is refused.
//
// "truncation" and "padding" are for batches in training: transformers turns both off unless a call
// asks for them.
absl::StatusOr<TokenizerAssets> ReadTokenizerJson(const JsonValue& json, absl::string_view path,
                                                  int vocab);

// Flags of an added token, from its object in tokenizer.json or tokenizer_config.json; `key` names
// it in errors. DATA_LOSS for one that is no bool, UNIMPLEMENTED for a key that nobody knows.
struct AddedTokenFlags {
  AddedTokenRules rules;
  bool special = false;
};
absl::StatusOr<AddedTokenFlags> ReadAddedTokenFlags(const JsonValue& token, absl::string_view path,
                                                    absl::string_view key);

// Makes `flags` those of token `id` of `assets`.
void SetAddedToken(int32_t id, const AddedTokenFlags& flags, TokenizerAssets& assets);

}  // namespace phalanx

#endif  // PHALANX_MODEL_TEXT_TOKENIZER_JSON_H_
