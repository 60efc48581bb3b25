// A llama model of a few hundred kilobytes with random weights, for tests that need a whole one.
#ifndef PHALANX_MODEL_TESTING_TINY_MODEL_H_
#define PHALANX_MODEL_TESTING_TINY_MODEL_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "model/files/gguf.h"
#include "model/testing/gguf_writer.h"
#include "model/testing/tiny_tokenizer.h"

namespace phalanx {

struct TinyModelOptions {
  int num_layers = 2;
  int hidden = 96;
  int num_q_heads = 6;
  int num_kv_heads = 3;
  int head_dim = 32;
  int ffn = 160;
  int context_tokens = 256;
  float rope_theta = 10000.0f;
  // Of the layers' matrices; kF32, kQ4_1 and kQ8_0 can be written. hidden, head_dim and ffn are
  // multiples of 32 for the latter two.
  TensorType matrix_type = TensorType::kQ4_1;
  TensorType embedding_type = TensorType::kQ8_0;
  // Whether there is an output matrix of its own, of the embedding's type.
  bool untied_output = false;
  // This row of an embedding of kF32 is NaN; -1 is none.
  int broken_token = -1;
  uint32_t seed = 1;
};

// The file, ready for a test to add to, with the tokenizer of tiny_tokenizer.h. Metadata first, in
// the order of llama.cpp's converter.
GgufWriter TinyModel(const TinyModelOptions& options);

// Writes it to `name` in the test's temporary folder and returns the path.
std::string WriteTinyModel(absl::string_view name, const TinyModelOptions& options = {});

}  // namespace phalanx

#endif  // PHALANX_MODEL_TESTING_TINY_MODEL_H_
