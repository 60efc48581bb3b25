#include "worker/model/forward_pass.h"

#include <cmath>
#include <cstddef>
#include <vector>

#include "base/status.h"
#include "model/spec/long_rope.h"

namespace phalanx {
namespace {

using kernels::DType;
using kernels::StepBatch;
using kernels::Tensor;

// 1 / (factor_j * theta^(2 j / rotary_dim)), every operation rounded to float32 as in transformers'
// modeling_rope_utils.py.
std::vector<float> InverseFrequencies(const ModelSpec& spec, const std::vector<float>& factors) {
  std::vector<float> frequencies(spec.rotary_dim / 2);
  for (size_t j = 0; j < frequencies.size(); ++j) {
    const float exponent = static_cast<float>(2 * j) / static_cast<float>(spec.rotary_dim);
    const float factor = factors.empty() ? 1.0f : factors[j];
    frequencies[j] = 1.0f / (factor * std::pow(spec.rope.theta, exponent));
  }
  return frequencies;
}

}  // namespace

absl::Status ForwardPass::UploadInverseFrequencies() {
  std::vector<float> lists = InverseFrequencies(spec_, spec_.rope.factors);
  if (spec_.rope.num_lists() == 2) {
    const std::vector<float> second = InverseFrequencies(spec_, spec_.rope.long_factors);
    lists.insert(lists.end(), second.begin(), second.end());
  }
  backend_.CopyToBackend(stream_, act_.inv_freq.data, lists.data(), lists.size() * sizeof(float));
  return stream_.Synchronize();
}

absl::Status ForwardPass::Run(const StepBatch& batch) {
  RETURN_IF_ERROR(EmbedTokens(batch));
  if (norm_is_in_hidden()) {
    NormResidual(batch.num_tokens, Norm(*weights_.layers[0].attention_norm));
  }
  for (int layer = 0; layer < spec_.num_layers; ++layer) {
    RETURN_IF_ERROR(Attend(batch, layer));
    RETURN_IF_ERROR(FeedForward(batch, layer));
  }
  // No layer takes the last norm: logits are products of some of its rows.
  if (!norm_is_in_hidden()) NormResidual(batch.num_tokens, Norm(*weights_.final_norm));
  return absl::OkStatus();
}

// residual = embeddings.
absl::Status ForwardPass::EmbedTokens(const StepBatch& batch) {
  const Tensor residual = FirstRows(act_.residual, batch.num_tokens);
  backend_.Embed(stream_, batch, *weights_.embedding, shard_.vocab.begin, residual);
  Mark();
  // Each rank has some rows of the table and zeros for the tokens of others, so the sum is exact.
  RETURN_IF_ERROR(collectives_.Sum(residual));
  // Once a step: all layers turn by the same angles.
  backend_.RopeAngles(stream_, batch, act_.inv_freq, spec_.rope.attention_factor,
                      FirstRows(act_.cos_sin, batch.num_tokens));
  return absl::OkStatus();
}

// residual += attention(norm of it).
absl::Status ForwardPass::Attend(const StepBatch& batch, int layer) {
  const LayerWeights& w = weights_.layers[layer];
  const Tensor qkv = FirstRows(act_.qkv, batch.num_tokens);
  const Tensor attention = FirstRows(act_.attention, batch.num_tokens);
  const int local_q_heads = shard_.q_heads.size();
  const float scale = 1.0f / std::sqrt(static_cast<float>(spec_.head_dim));

  const Tensor qkv_bias =
      w.qkv_bias == nullptr ? Tensor{} : Tensor{w.qkv_bias->data(), DType::kF32, 1, qkv.cols};
  MultiplyNorm(Norm(*w.attention_norm), *w.qkv, qkv_bias, qkv);
  Mark();
  backend_.RopeAttention(stream_, batch, FirstRows(act_.cos_sin, batch.num_tokens), local_q_heads,
                         qkv, scale, cache_, layer, attention);
  Mark();
  // This rank's heads give it a part of each output's sum.
  return AddProduct(attention, *w.attention_out, Norm(*w.ffn_norm));
}

// residual += down(silu(gate(norm of it)) * up(norm of it)).
absl::Status ForwardPass::FeedForward(const StepBatch& batch, int layer) {
  const LayerWeights& w = weights_.layers[layer];
  const Tensor ffn = FirstRows(act_.ffn, batch.num_tokens);
  MultiplyNorm(Norm(*w.ffn_norm), *w.gate_up, ffn);
  Mark();
  // This rank's columns of the feed-forward give a part of each output's sum, as in attention.
  return AddProduct(ffn, *w.down, NormAfter(layer));
}

void ForwardPass::NormResidual(int64_t rows, Tensor norm) {
  backend_.RmsNorm(stream_, FirstRows(act_.residual, rows), norm, spec_.rms_norm_eps,
                   FirstRows(act_.hidden, rows));
}

void ForwardPass::MultiplyNorm(Tensor norm, const kernels::PackedLinear& w, Tensor bias,
                               Tensor out) {
  const Tensor hidden = FirstRows(act_.hidden, out.rows);
  if (norm_is_in_hidden()) {
    backend_.Linear(stream_, hidden, w, bias, out);
  } else {
    backend_.NormLinear(stream_, FirstRows(act_.residual, out.rows), norm, spec_.rms_norm_eps,
                        hidden, w, bias, out);
  }
}

void ForwardPass::MultiplyNorm(Tensor norm, const kernels::PackedGatedLinear& w, Tensor out) {
  const Tensor hidden = FirstRows(act_.hidden, out.rows);
  if (norm_is_in_hidden()) {
    backend_.GatedLinear(stream_, hidden, w, out);
  } else {
    backend_.NormGatedLinear(stream_, FirstRows(act_.residual, out.rows), norm, spec_.rms_norm_eps,
                             hidden, w, out);
  }
}

absl::Status ForwardPass::AddProduct(Tensor x, const kernels::PackedLinear& w, Tensor norm) {
  const Tensor residual = FirstRows(act_.residual, x.rows);
  if (!norm_is_in_hidden()) {
    backend_.LinearAdd(stream_, x, w, residual);
    Mark();
    // Changes nothing; see Collectives.
    return collectives_.Sum(residual);
  }
  // What was in it has been used up by the first product of the attention or feed-forward.
  const Tensor hidden = FirstRows(act_.hidden, x.rows);
  backend_.Linear(stream_, x, w, /*bias=*/{}, hidden);
  Mark();
  return collectives_.SumAddRmsNorm(backend_, residual, hidden, norm, spec_.rms_norm_eps, hidden);
}

}  // namespace phalanx
