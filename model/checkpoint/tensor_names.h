// What the parts of a decoder are called in model files.
#ifndef PHALANX_MODEL_CHECKPOINT_TENSOR_NAMES_H_
#define PHALANX_MODEL_CHECKPOINT_TENSOR_NAMES_H_

#include <string>

#include "model/spec/spec.h"

namespace phalanx {

// Names of the whole network's tensors. Sources: ggml-org/llama.cpp, gguf-py/gguf/constants.py;
// huggingface/transformers, modeling_llama.py, modeling_phi3.py, modeling_qwen2.py.
struct NetworkNames {
  std::string embedding;
  std::string final_norm;
  std::string output;
};

// Names of one layer's tensors. Those of projections are without ".weight" or ".bias" at their end.
struct LayerNames {
  std::string attention_norm;
  // With fused projections q, k and v are one name, and so are gate and up.
  std::string q;
  std::string k;
  std::string v;
  std::string attention_out;
  std::string ffn_norm;
  std::string gate;
  std::string up;
  std::string down;
};

NetworkNames NamesOfNetwork(TensorNaming naming);
LayerNames NamesOfLayer(const ModelSpec& spec, int layer);

// Whether a tensor cannot change the result although no layer has it: rotary factors, which
// ModelSpec already contains; an output matrix that is the embedding again; and the inverse
// frequencies in old checkpoints, which transformers computes anew too (modeling_utils.py,
// _adjust_missing_and_unexpected_keys).
bool IsNotOfTheNetwork(const ModelSpec& spec, const std::string& name);

}  // namespace phalanx

#endif  // PHALANX_MODEL_CHECKPOINT_TENSOR_NAMES_H_
