// Reads the rotary positions of a config.json.
#ifndef PHALANX_MODEL_SPEC_HF_ROPE_H_
#define PHALANX_MODEL_SPEC_HF_ROPE_H_

#include "absl/status/status.h"
#include "model/files/config_reader.h"
#include "model/spec/spec.h"

namespace phalanx {

// Fills spec.rope and spec.rotary_dim, and the names of their keys, from rope_scaling or
// rope_parameters (transformers 5) and the keys beside it. spec.architecture, head_dim and
// context_tokens must be set already. Errors are those of ReadHfConfig.
absl::Status ReadHfRope(ConfigReader& top, ModelSpec& spec, SpecKeys& keys);

}  // namespace phalanx

#endif  // PHALANX_MODEL_SPEC_HF_ROPE_H_
