// What a model's makers advise for sampling.
#ifndef PHALANX_MODEL_GENERATION_DEFAULTS_H_
#define PHALANX_MODEL_GENERATION_DEFAULTS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/gguf.h"
#include "model/json.h"

namespace phalanx {

// Ranges as in phalanx/v1/inference.proto.
struct GenerationDefaults {
  float temperature = 0.0f;
  int top_k = 0;
  float top_p = 1.0f;
  // Tokens that end an answer, as the configuration names them; the tokenizer may know more.
  // Ascending.
  std::vector<int32_t> eos_token_ids = {};
  // Advice that is there and is not followed, for people: "repetition_penalty: 1.1".
  std::vector<std::string> ignored = {};
};

// From the general.sampling.{temp,top_k,top_p} keys where the file has them (and they are in
// range), else greedy.
GenerationDefaults ReadGenerationDefaults(const GgufFile& file);

// From a parsed generation_config.json at `path`, as transformers takes it: greedy unless do_sample
// is true; then temperature 1, top_k 50 and top_p 1 where it says nothing else. DATA_LOSS, naming
// file and key, for values of another type.
absl::StatusOr<GenerationDefaults> ReadGenerationConfig(const JsonValue& config,
                                                        absl::string_view path);

}  // namespace phalanx

#endif  // PHALANX_MODEL_GENERATION_DEFAULTS_H_
