// Reads the steps of a tokenizer.json around its vocabulary: what is done to text before merges,
// and to tokens after them.
#ifndef PHALANX_MODEL_TEXT_TOKENIZER_STEPS_H_
#define PHALANX_MODEL_TEXT_TOKENIZER_STEPS_H_

#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/files/config_reader.h"
#include "model/text/tokenizer_assets.h"

namespace phalanx {

// Reads "normalizer", "pre_tokenizer" and "decoder" of the file's object into `assets`. DATA_LOSS
// for what is malformed, UNIMPLEMENTED for a step that byte-level tokenizers of the supported
// models do not have; both name the file and the key.
//
// Source for the meaning of each: Hugging Face tokenizers, src/normalizers, src/pre_tokenizers,
// src/decoders.
absl::Status ReadTokenizerSteps(ConfigReader& file, TokenizerAssets& assets);

// Reads "post_processor". Returns the id of the token that it puts before every text, if it does
// so. The errors of ReadTokenizerSteps; UNIMPLEMENTED also for one that adds anything else.
absl::StatusOr<std::optional<int32_t>> ReadFirstToken(ConfigReader& file);

}  // namespace phalanx

#endif  // PHALANX_MODEL_TEXT_TOKENIZER_STEPS_H_
