// Reads the tokenizer in a Hugging Face folder.
#ifndef PHALANX_MODEL_TEXT_TOKENIZER_ASSETS_HF_H_
#define PHALANX_MODEL_TEXT_TOKENIZER_ASSETS_HF_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/text/tokenizer_assets.h"

namespace phalanx {

// Reads tokenizer.json and, if they are there, tokenizer_config.json, special_tokens_map.json,
// chat_template.jinja and additional_chat_templates/*.jinja. `vocab` is how many rows the model's
// table has; ids beyond that are DATA_LOSS. NOT_FOUND without a tokenizer.json.
absl::StatusOr<TokenizerAssets> ReadTokenizerAssets(const std::string& folder, int vocab);

// The files of chat templates with a name, by their path below `folder`. Ascending.
std::vector<std::string> NamedChatTemplateFiles(const std::string& folder);

}  // namespace phalanx

#endif  // PHALANX_MODEL_TEXT_TOKENIZER_ASSETS_HF_H_
