// Reads the tokenizer that a GGUF file holds.
#ifndef PHALANX_MODEL_TEXT_TOKENIZER_ASSETS_GGUF_H_
#define PHALANX_MODEL_TEXT_TOKENIZER_ASSETS_GGUF_H_

#include "absl/status/statusor.h"
#include "model/files/gguf.h"
#include "model/text/tokenizer_assets.h"

namespace phalanx {

// Errors name the file and the key: DATA_LOSS for missing or inconsistent values, UNIMPLEMENTED for
// a tokenizer that is not supported.
absl::StatusOr<TokenizerAssets> ReadTokenizerAssets(const GgufFile& file);

}  // namespace phalanx

#endif  // PHALANX_MODEL_TEXT_TOKENIZER_ASSETS_GGUF_H_
