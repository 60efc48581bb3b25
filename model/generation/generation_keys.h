// What each key of a model's advice on generation means to this server.
//
// Sources: huggingface/transformers 5.23, generation/configuration_utils.py and
// generation/utils.py; ggml-org/llama.cpp, gguf-py/gguf/constants.py and common/sampling.cpp.
#ifndef PHALANX_MODEL_GENERATION_GENERATION_KEYS_H_
#define PHALANX_MODEL_GENERATION_GENERATION_KEYS_H_

#include <cstdint>

#include "absl/strings/string_view.h"

namespace phalanx {

enum class GenerationKeyKind : uint8_t {
  kFollowed,    // Read by generation_defaults.cc.
  kHarmless,    // Changes no answer that this server can give, whatever its value.
  kNotOffered,  // Changes answers, unless its value is neutral.
  kUnknown,     // May change answers.
};

// The kind of a key of generation_config.json, or of config.json where there is no such file.
GenerationKeyKind GenerationConfigKeyKind(absl::string_view key);
// The kind of a key "general.sampling.*" of a GGUF file, given without that prefix.
GenerationKeyKind GgufSamplingKeyKind(absl::string_view key);

// Whether a key that is not offered, of either kind of file, changes nothing with this value.
bool IsNeutralValue(absl::string_view key, double value);

}  // namespace phalanx

#endif  // PHALANX_MODEL_GENERATION_GENERATION_KEYS_H_
