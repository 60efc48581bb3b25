#include "model/testing/tiny_hf_model.h"

#include <cmath>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/log.h"
#include "model/testing/hf_folder.h"
#include "model/testing/random_weights.h"

namespace phalanx {
namespace {

constexpr char kConfig[] = R"({"model_type": "%s", "hidden_act": "silu", "hidden_size": %d,
  "num_hidden_layers": %d, "num_attention_heads": %d, "num_key_value_heads": %d, "head_dim": %d,
  "intermediate_size": %d, "vocab_size": %d, "max_position_embeddings": %d,
  "rms_norm_eps": 1e-05, "rope_theta": 10000.0, "tie_word_embeddings": %s,
  "eos_token_id": 2%s})";

constexpr double kRotatedPart = 0.75;

std::string Repeated(const std::string& number, int count) {
  return absl::StrJoin(std::vector<std::string>(count, number), ",");
}

std::string ConfigOf(const TinyHfOptions& options) {
  std::string rope;
  if (options.original_context_tokens > 0) {
    CHECK(options.architecture == "phi3") << options.architecture;
    const int pairs = static_cast<int>(options.head_dim * kRotatedPart) / 2;
    rope = absl::StrFormat(R"(, "partial_rotary_factor": %g, "sliding_window": null,
      "original_max_position_embeddings": %d, "rope_scaling": {"type": "longrope",
      "short_factor": [%s], "long_factor": [%s]})",
                           kRotatedPart, options.original_context_tokens, Repeated("1.0", pairs),
                           Repeated("4.0", pairs));
  }
  return absl::StrFormat(kConfig, options.architecture, options.hidden, options.num_layers,
                         options.num_q_heads, options.num_kv_heads, options.head_dim, options.ffn,
                         options.vocab, options.context_tokens,
                         options.tied_embeddings ? "true" : "false", rope);
}

// Spreads tensors over files and remembers where each is.
class TensorWriter {
 public:
  TensorWriter(int num_files, uint32_t seed) : files_(num_files), random_(seed) {}

  // What comes next goes into this file.
  void SelectFile(int file) { file_ = file; }

  // Of standard deviation 1 / sqrt(cols).
  void AddMatrix(const std::string& name, int rows, int cols) {
    Add(name, {static_cast<uint64_t>(rows), static_cast<uint64_t>(cols)}, 0,
        1.0f / std::sqrt(static_cast<float>(cols)));
  }
  // Of the given mean and a standard deviation of 0.1.
  void AddVector(const std::string& name, int size, float mean) {
    Add(name, {static_cast<uint64_t>(size)}, mean, 0.1f);
  }

  void FinishInto(std::map<std::string, std::string>& files) const {
    if (files_.size() == 1) {
      files["model.safetensors"] = files_[0].Finish();
      return;
    }
    for (size_t i = 0; i < files_.size(); ++i) files[NameOf(i)] = files_[i].Finish();
    files["model.safetensors.index.json"] = absl::StrCat(
        R"({"metadata": {"total_size": 1}, "weight_map": {)", absl::StrJoin(places_, ","), "}}");
  }

 private:
  std::string NameOf(size_t file) const {
    return absl::StrFormat("model-%05d-of-%05d.safetensors", file + 1, files_.size());
  }
  void Add(const std::string& name, const std::vector<uint64_t>& shape, float mean,
           float deviation) {
    uint64_t size = 1;
    for (const uint64_t dimension : shape) size *= dimension;
    std::vector<float> values(size);
    for (float& value : values) value = mean + deviation * random_.Normal();
    files_[file_].AddF32(name, shape, values);
    places_.push_back(absl::StrCat("\"", name, "\":\"", NameOf(file_), "\""));
  }

  std::vector<SafetensorsWriter> files_;
  std::vector<std::string> places_;
  int file_ = 0;
  RandomWeights random_;
};

void AddAttention(const TinyHfOptions& options, const std::string& prefix, TensorWriter& writer) {
  const int q_rows = options.num_q_heads * options.head_dim;
  const int kv_rows = options.num_kv_heads * options.head_dim;
  if (options.architecture == "phi3") {
    writer.AddMatrix(prefix + "qkv_proj.weight", q_rows + 2 * kv_rows, options.hidden);
  } else {
    writer.AddMatrix(prefix + "q_proj.weight", q_rows, options.hidden);
    writer.AddMatrix(prefix + "k_proj.weight", kv_rows, options.hidden);
    writer.AddMatrix(prefix + "v_proj.weight", kv_rows, options.hidden);
  }
  if (options.architecture == "qwen2") {
    writer.AddVector(prefix + "q_proj.bias", q_rows, 0);
    writer.AddVector(prefix + "k_proj.bias", kv_rows, 0);
    writer.AddVector(prefix + "v_proj.bias", kv_rows, 0);
  }
  writer.AddMatrix(prefix + "o_proj.weight", options.hidden, q_rows);
}

void AddFeedForward(const TinyHfOptions& options, const std::string& prefix, TensorWriter& writer) {
  if (options.architecture == "phi3") {
    writer.AddMatrix(prefix + "gate_up_proj.weight", 2 * options.ffn, options.hidden);
  } else {
    writer.AddMatrix(prefix + "gate_proj.weight", options.ffn, options.hidden);
    writer.AddMatrix(prefix + "up_proj.weight", options.ffn, options.hidden);
  }
  writer.AddMatrix(prefix + "down_proj.weight", options.hidden, options.ffn);
}

}  // namespace

std::map<std::string, std::string> TinyHfModel(const TinyHfOptions& options) {
  TensorWriter writer(options.num_files, options.seed);
  writer.AddMatrix("model.embed_tokens.weight", options.vocab, options.hidden);
  for (int layer = 0; layer < options.num_layers; ++layer) {
    writer.SelectFile(layer * options.num_files / options.num_layers);
    const std::string prefix = absl::StrCat("model.layers.", layer, ".");
    writer.AddVector(prefix + "input_layernorm.weight", options.hidden, 1);
    AddAttention(options, prefix + "self_attn.", writer);
    writer.AddVector(prefix + "post_attention_layernorm.weight", options.hidden, 1);
    AddFeedForward(options, prefix + "mlp.", writer);
  }
  writer.AddVector("model.norm.weight", options.hidden, 1);
  if (!options.tied_embeddings) {
    writer.AddMatrix("lm_head.weight", options.vocab, options.hidden);
  }
  std::map<std::string, std::string> files = TinyTokenizerFiles();
  files["config.json"] = ConfigOf(options);
  files["generation_config.json"] = R"({"eos_token_id": [2, 0], "do_sample": true, "top_k": 20})";
  writer.FinishInto(files);
  return files;
}

std::string WriteTinyHfModel(absl::string_view name, const TinyHfOptions& options) {
  return WriteTempFolder(name, TinyHfModel(options));
}

}  // namespace phalanx
