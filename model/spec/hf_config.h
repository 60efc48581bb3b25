// Reads which network a Hugging Face folder holds.
#ifndef PHALANX_MODEL_SPEC_HF_CONFIG_H_
#define PHALANX_MODEL_SPEC_HF_CONFIG_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/files/json.h"
#include "model/spec/spec.h"

namespace phalanx {

struct HfConfig {
  ModelSpec spec;
  // The end tokens that the file names, if any. Ascending.
  std::vector<int32_t> eos_token_ids;
};

// Reads the spec from a parsed config.json of transformers' Llama, Phi-3 or Qwen2 class, in old and
// new spelling: rope_scaling or rope_parameters, type or rope_type, torch_dtype or dtype. `path`
// names the file in errors, `name` becomes the spec's name.
//
// Keys that cannot change the computation are accepted by name. Keys whose usual value changes
// nothing are accepted with that value. Any other key is an error. Errors name the file and the
// key: UNIMPLEMENTED for a class, feature or key that is not supported, DATA_LOSS for a value that
// is missing, of another type or impossible.
absl::StatusOr<HfConfig> ReadHfConfig(const JsonValue& config, absl::string_view path,
                                      absl::string_view name);

}  // namespace phalanx

#endif  // PHALANX_MODEL_SPEC_HF_CONFIG_H_
