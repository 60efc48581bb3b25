// What a decoder network is, whatever file it came from.
#ifndef PHALANX_MODEL_SPEC_H_
#define PHALANX_MODEL_SPEC_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/gguf.h"

namespace phalanx {

// A pre-norm decoder: grouped-query attention with rotary positions, SwiGLU feed-forward, RMSNorm.
struct ModelSpec {
  // What clients call it: the file's base name without ".gguf" and without the name of a
  // quantization at its end, for example "SmolLM2-135M-Instruct". Not from general.name, which
  // converters fill with names of checkpoints.
  std::string name;
  std::string architecture;  // "llama".
  int num_layers = 0;
  int hidden = 0;
  int num_q_heads = 0;
  int num_kv_heads = 0;
  int head_dim = 0;
  int rotary_dim = 0;  // At most head_dim, even.
  int ffn = 0;
  int vocab = 0;
  int context_tokens = 0;
  float rms_norm_eps = 0;
  float rope_theta = 0;
  bool tied_embeddings = false;
  // Whether the file's q and k rows are ordered for interleaved rotary pairs (2j, 2j + 1), as the
  // llama.cpp converter writes "llama" files; the loader then undoes it.
  bool interleaved_qk_rows = false;
};

// Reads the spec from GGUF metadata and the names and shapes of its tensors. Every key of the
// architecture must be one that is understood: an unknown one may change the result. Errors name
// the file and the key: UNIMPLEMENTED for an architecture or feature that is not supported (with
// the list of those that are), DATA_LOSS for a missing, ill-typed or impossible value.
absl::StatusOr<ModelSpec> ReadModelSpec(const GgufFile& file);

}  // namespace phalanx

#endif  // PHALANX_MODEL_SPEC_H_
