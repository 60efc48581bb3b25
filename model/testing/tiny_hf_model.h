// A Hugging Face folder with a small network of random weights, for tests that need a whole one.
#ifndef PHALANX_MODEL_TESTING_TINY_HF_MODEL_H_
#define PHALANX_MODEL_TESTING_TINY_HF_MODEL_H_

#include <cstdint>
#include <map>
#include <string>

#include "absl/strings/string_view.h"
#include "model/testing/tiny_tokenizer.h"

namespace phalanx {

struct TinyHfOptions {
  std::string architecture = "llama";  // "llama", "phi3" or "qwen2".
  int num_layers = 2;
  int hidden = 64;
  int num_q_heads = 4;
  int num_kv_heads = 2;
  int head_dim = 16;
  int ffn = 96;
  int vocab = kTinyVocab;
  int context_tokens = 256;
  bool tied_embeddings = true;
  // phi3: LongRoPE with this border, on three quarters of each head; 0: plain rotation.
  int original_context_tokens = 0;
  // Layer by layer into this many files with an index; 1: one file.
  int num_files = 1;
  uint32_t seed = 1;
};

// The files by name: config.json, weights (F32), generation_config.json, and the tokenizer of
// tiny_tokenizer.h.
std::map<std::string, std::string> TinyHfModel(const TinyHfOptions& options);

// Writes them to the folder `name` in the test's temporary folder and returns its path.
std::string WriteTinyHfModel(absl::string_view name, const TinyHfOptions& options = {});

}  // namespace phalanx

#endif  // PHALANX_MODEL_TESTING_TINY_HF_MODEL_H_
