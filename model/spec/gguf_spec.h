// Reads which network a GGUF file holds.
#ifndef PHALANX_MODEL_SPEC_GGUF_SPEC_H_
#define PHALANX_MODEL_SPEC_GGUF_SPEC_H_

#include "absl/status/statusor.h"
#include "model/files/gguf.h"
#include "model/files/tensor_table.h"
#include "model/spec/spec.h"

namespace phalanx {

// Reads the spec from the metadata of `file` (the first file of a split model) and the names,
// shapes and rotary factors of the model's tensors. Every key of the architecture must be one that
// is known here, since an unknown one may change the result. Errors name the file and the key or
// tensor: UNIMPLEMENTED for an architecture or feature that is not supported (with the list of
// those that are), DATA_LOSS for a value that is missing, of another type or impossible.
//
// Keys and tensors are those that llama.cpp's converters write for llama, phi3 and qwen2. Rotary
// factors are in the tensors rope_freqs.weight (llama3 scaling) or rope_factors_short.weight and
// rope_factors_long.weight (LongRoPE).
absl::StatusOr<ModelSpec> ReadGgufSpec(const GgufFile& file, const TensorTable& tensors);

}  // namespace phalanx

#endif  // PHALANX_MODEL_SPEC_GGUF_SPEC_H_
