#include "worker/bench/synthetic_model.h"

#include <deque>
#include <memory>
#include <utility>

#include "base/log.h"
#include "base/status.h"
#include "kernels/testing/random_linear.h"

namespace phalanx {
namespace {

using kernels::DType;

constexpr std::pair<const char*, DType> kTypes[] = {{"f32", DType::kF32},
                                                    {"bf16", DType::kBF16},
                                                    {"q4_0", DType::kQ4_0},
                                                    {"q4_1", DType::kQ4_1},
                                                    {"q8_0", DType::kQ8_0}};
constexpr int kSuperBlock = 256;  // Elements of a block of Q6_K.

ModelSpec PhiFourMini() {
  ModelSpec spec;
  spec.name = "Phi-4-mini's shape";
  spec.architecture = "phi3";
  spec.num_layers = 32;
  spec.hidden = 3072;
  spec.num_q_heads = 24;
  spec.num_kv_heads = 8;
  spec.head_dim = 128;
  spec.rotary_dim = 96;
  spec.ffn = 8192;
  spec.vocab = 200064;
  spec.context_tokens = 16384;
  spec.rms_norm_eps = 1e-5f;
  spec.tied_embeddings = true;
  return spec;
}

ModelSpec SmolLm2() {
  ModelSpec spec;
  spec.name = "SmolLM2-135M's shape";
  spec.architecture = "llama";
  spec.num_layers = 30;
  spec.hidden = 576;
  spec.num_q_heads = 9;
  spec.num_kv_heads = 3;
  spec.head_dim = 64;
  spec.rotary_dim = 64;
  spec.ffn = 1536;
  spec.vocab = 49152;
  spec.context_tokens = 8192;
  spec.rms_norm_eps = 1e-5f;
  spec.tied_embeddings = true;
  return spec;
}

ModelSpec Tiny() {
  ModelSpec spec = PhiFourMini();
  spec.name = "a tiny shape";
  spec.num_layers = 2;
  spec.hidden = 96;
  spec.num_q_heads = 3;
  spec.num_kv_heads = 1;
  spec.head_dim = 64;
  spec.rotary_dim = 48;
  spec.ffn = 128;
  spec.vocab = 512;
  spec.context_tokens = 256;
  return spec;
}

class RandomWeights {
 public:
  RandomWeights(DType dtype, kernels::Backend& backend)
      : dtype_(dtype), backend_(backend), stream_(backend.NewStream()) {}

  absl::StatusOr<DecoderWeights> Make(const ModelSpec& spec) {
    DecoderWeights weights;
    const bool has_k_quant =
        (dtype_ == DType::kQ4_0 || dtype_ == DType::kQ4_1) && spec.hidden % kSuperBlock == 0;
    ASSIGN_OR_RETURN(weights.embedding,
                     Linear(has_k_quant ? DType::kQ6_K : dtype_, spec.hidden, spec.vocab));
    ASSIGN_OR_RETURN(weights.final_norm, Norm(spec.hidden));
    for (int layer = 0; layer < spec.num_layers; ++layer) {
      ASSIGN_OR_RETURN(LayerWeights w, Layer(spec));
      weights.layers.push_back(std::move(w));
    }
    weights.bytes = bytes_;
    return weights;
  }

 private:
  absl::StatusOr<LayerWeights> Layer(const ModelSpec& spec) {
    LayerWeights w;
    const int q = spec.num_q_heads * spec.head_dim;
    const int kv = spec.num_kv_heads * spec.head_dim;
    ASSIGN_OR_RETURN(w.attention_norm, Norm(spec.hidden));
    ASSIGN_OR_RETURN(w.ffn_norm, Norm(spec.hidden));
    ASSIGN_OR_RETURN(w.qkv, Linear(dtype_, spec.hidden, q + 2 * kv));
    ASSIGN_OR_RETURN(w.attention_out, Linear(dtype_, q, spec.hidden));
    const kernels::LinearSource gate = Source(dtype_, spec.hidden, spec.ffn);
    const kernels::LinearSource up = Source(dtype_, spec.hidden, spec.ffn);
    ASSIGN_OR_RETURN(w.gate_up, backend_.PackGatedLinear(gate, up));
    bytes_ += w.gate_up->bytes();
    ASSIGN_OR_RETURN(w.down, Linear(dtype_, spec.ffn, spec.hidden));
    return w;
  }

  absl::StatusOr<std::unique_ptr<kernels::Buffer>> Norm(int size) {
    const std::vector<float> ones(size, 1.0f);
    ASSIGN_OR_RETURN(std::unique_ptr<kernels::Buffer> buffer,
                     backend_.Allocate(size * sizeof(float)));
    backend_.CopyToBackend(*stream_, buffer->data(), ones.data(), size * sizeof(float));
    RETURN_IF_ERROR(stream_->Synchronize());
    return buffer;
  }

  absl::StatusOr<std::unique_ptr<kernels::PackedLinear>> Linear(DType dtype, int inputs,
                                                                int outputs) {
    ASSIGN_OR_RETURN(std::unique_ptr<kernels::PackedLinear> linear,
                     backend_.PackLinear({Source(dtype, inputs, outputs)}));
    bytes_ += linear->bytes();
    return linear;
  }

  kernels::LinearSource Source(DType dtype, int inputs, int outputs) {
    constexpr int kRandomRows = 64;
    matrices_.push_back(std::make_unique<kernels::RandomLinear>(
        dtype, inputs, kRandomRows, static_cast<int>(matrices_.size()) + 1));
    rows_.emplace_back();
    const kernels::LinearSource random = matrices_.back()->source();
    for (int row = 0; row < outputs; ++row) rows_.back().push_back(random.rows[row % kRandomRows]);
    return {.dtype = dtype, .in_features = inputs, .rows = rows_.back()};
  }

  const DType dtype_;
  kernels::Backend& backend_;
  const std::unique_ptr<kernels::Stream> stream_;
  size_t bytes_ = 0;
  std::vector<std::unique_ptr<kernels::RandomLinear>> matrices_;
  std::deque<std::vector<const std::byte*>> rows_;
};

}  // namespace

const std::vector<std::string>& SyntheticShapes() {
  static const auto* const kNames = new std::vector<std::string>{"phi4_mini", "smollm2", "tiny"};
  return *kNames;
}

ModelSpec SyntheticSpec(absl::string_view name) {
  if (name == "tiny") return Tiny();
  return name == "smollm2" ? SmolLm2() : PhiFourMini();
}

const std::vector<std::string>& SyntheticTypes() {
  static const auto* const kNames = [] {
    auto* names = new std::vector<std::string>;
    for (const auto& [name, type] : kTypes) names->emplace_back(name);
    return names;
  }();
  return *kNames;
}

DType SyntheticType(absl::string_view name) {
  for (const auto& [text, type] : kTypes) {
    if (name == text) return type;
  }
  LOG(FATAL) << "there is no synthetic type " << name;
  return DType::kF32;
}

absl::StatusOr<DecoderWeights> SyntheticWeights(const ModelSpec& spec, DType dtype,
                                                kernels::Backend& backend) {
  return RandomWeights(dtype, backend).Make(spec);
}

}  // namespace phalanx
