// Small GGUF files for tests of the spec that is read from them.
#ifndef PHALANX_MODEL_TESTING_GGUF_SPEC_FIXTURE_H_
#define PHALANX_MODEL_TESTING_GGUF_SPEC_FIXTURE_H_

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "gtest/gtest.h"
#include "model/files/gguf.h"
#include "model/files/tensor_table.h"
#include "model/spec/gguf_spec.h"
#include "model/spec/spec.h"
#include "model/testing/gguf_writer.h"

namespace phalanx {

// The spec of the file at `path`.
inline absl::StatusOr<ModelSpec> ReadSpec(const std::string& path) {
  const auto file = GgufFile::Open(path);
  if (!file.ok()) return file.status();
  TensorTable tensors;
  EXPECT_TRUE(tensors.Add(path, (*file)->tensors()).ok());
  return ReadGgufSpec(**file, tensors);
}

// A good file of one layer, with some keys and tensors replaced or left out.
class Metadata {
 public:
  void U32(const std::string& key, uint32_t value) { values_[key] = {4, GgufWriter::Bytes(value)}; }
  void F32(const std::string& key, float value) { values_[key] = {6, GgufWriter::Bytes(value)}; }
  void Bool(const std::string& key, bool value) {
    values_[key] = {7, GgufWriter::Bytes<uint8_t>(value)};
  }
  void Text(const std::string& key, const std::string& value) {
    values_[key] = {8, GgufWriter::String(value)};
  }
  void Drop(const std::string& key) { values_.erase(key); }
  void Vector(const std::string& name, const std::vector<float>& values) {
    vectors_[name] = values;
  }

  explicit Metadata(const std::string& architecture = "llama") {
    Text("general.architecture", architecture);
    const std::string prefix = architecture + ".";
    U32(prefix + "block_count", 1);
    U32(prefix + "context_length", 64);
    U32(prefix + "embedding_length", 8);
    U32(prefix + "feed_forward_length", 32);
    U32(prefix + "attention.head_count", 4);
    U32(prefix + "attention.head_count_kv", 2);
    F32(prefix + "attention.layer_norm_rms_epsilon", 1e-5f);
  }

  // The spec of the file that this makes.
  absl::StatusOr<ModelSpec> Read(const std::string& file) const {
    GgufWriter writer;
    for (const auto& [key, value] : values_) writer.AddPair(key, value.first, value.second);
    writer.AddStrings("tokenizer.ggml.tokens", {"a", "b", "c"});
    writer.AddTensor("token_embd.weight", TensorType::kF32, {8, 3}, std::string(96, '\0'));
    for (const auto& [name, values] : vectors_) {
      std::string bytes;
      for (const float value : values) bytes += GgufWriter::Bytes(value);
      writer.AddTensor(name, TensorType::kF32, {values.size()}, bytes);
    }
    return ReadSpec(writer.WriteToTemp(file));
  }

 private:
  std::map<std::string, std::pair<uint32_t, std::string>> values_;
  std::map<std::string, std::vector<float>> vectors_;
};

// As conversions of Phi-4-mini are, but small: heads of 32, of which 8 are rotated.
inline Metadata SmallPhi3() {
  Metadata metadata("phi3");
  metadata.U32("phi3.embedding_length", 8);
  metadata.U32("phi3.attention.key_length", 32);
  metadata.U32("phi3.attention.value_length", 32);
  metadata.U32("phi3.rope.dimension_count", 8);
  metadata.F32("phi3.rope.freq_base", 10000.0f);
  metadata.U32("phi3.rope.scaling.original_context_length", 16);
  metadata.F32("phi3.rope.scaling.attn_factor", 1.25f);
  metadata.U32("phi3.attention.sliding_window", 128);
  metadata.Vector("rope_factors_short.weight", {1, 1, 1, 1.5f});
  metadata.Vector("rope_factors_long.weight", {1, 2, 3, 4.5f});
  return metadata;
}

}  // namespace phalanx

#endif  // PHALANX_MODEL_TESTING_GGUF_SPEC_FIXTURE_H_
