// Reads tokenizer.json, the file of Hugging Face tokenizers.
#ifndef PHALANX_MODEL_TEXT_TOKENIZER_JSON_H_
#define PHALANX_MODEL_TEXT_TOKENIZER_JSON_H_

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/files/json.h"
#include "model/text/tokenizer_assets.h"

namespace phalanx {

// Reads the assets in the parsed file at `path`: a byte-level BPE with its splitting rules, added
// tokens and first token. Chat templates, bos without a first token, and eos are in other files.
// `vocab` is how many rows the model's table has. DATA_LOSS for values that are missing or
// contradict each other, UNIMPLEMENTED for a tokenizer that is not supported; both name the file
// and the key. A key that is not known here is refused.
//
// "truncation" and "padding" are for batches in training: transformers turns both off unless a call
// asks for them.
absl::StatusOr<TokenizerAssets> ReadTokenizerJson(const JsonValue& json, absl::string_view path,
                                                  int vocab);

// Reads the flags of an added token from its object in tokenizer.json or tokenizer_config.json;
// `key` names it in errors. DATA_LOSS for a flag that is not a bool, UNIMPLEMENTED for a key that
// is not known here.
struct AddedTokenFlags {
  AddedTokenRules rules;
  bool special = false;
};
absl::StatusOr<AddedTokenFlags> ReadAddedTokenFlags(const JsonValue& token, absl::string_view path,
                                                    absl::string_view key);

// Gives token `id` of `assets` the flags `flags`.
void SetAddedToken(int32_t id, const AddedTokenFlags& flags, TokenizerAssets& assets);

}  // namespace phalanx

#endif  // PHALANX_MODEL_TEXT_TOKENIZER_JSON_H_
