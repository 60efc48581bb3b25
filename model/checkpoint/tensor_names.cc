#include "model/checkpoint/tensor_names.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace phalanx {

NetworkNames NamesOfNetwork(TensorNaming naming) {
  if (naming == TensorNaming::kGguf) {
    return {"token_embd.weight", "output_norm.weight", "output.weight"};
  }
  return {"model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"};
}

LayerNames NamesOfLayer(const ModelSpec& spec, int layer) {
  const bool fused = spec.fused_projections;
  if (spec.tensor_naming == TensorNaming::kGguf) {
    const std::string prefix = absl::StrCat("blk.", layer, ".");
    return {.attention_norm = prefix + "attn_norm.weight",
            .q = prefix + (fused ? "attn_qkv" : "attn_q"),
            .k = prefix + (fused ? "attn_qkv" : "attn_k"),
            .v = prefix + (fused ? "attn_qkv" : "attn_v"),
            .attention_out = prefix + "attn_output",
            .ffn_norm = prefix + "ffn_norm.weight",
            .gate = prefix + (fused ? "ffn_up" : "ffn_gate"),
            .up = prefix + "ffn_up",
            .down = prefix + "ffn_down"};
  }
  const std::string prefix = absl::StrCat("model.layers.", layer, ".");
  return {.attention_norm = prefix + "input_layernorm.weight",
          .q = prefix + (fused ? "self_attn.qkv_proj" : "self_attn.q_proj"),
          .k = prefix + (fused ? "self_attn.qkv_proj" : "self_attn.k_proj"),
          .v = prefix + (fused ? "self_attn.qkv_proj" : "self_attn.v_proj"),
          .attention_out = prefix + "self_attn.o_proj",
          .ffn_norm = prefix + "post_attention_layernorm.weight",
          .gate = prefix + (fused ? "mlp.gate_up_proj" : "mlp.gate_proj"),
          .up = prefix + (fused ? "mlp.gate_up_proj" : "mlp.up_proj"),
          .down = prefix + "mlp.down_proj"};
}

bool IsNotOfTheNetwork(const ModelSpec& spec, const std::string& name) {
  if (spec.tied_embeddings && name == NamesOfNetwork(spec.tensor_naming).output) return true;
  if (spec.tensor_naming == TensorNaming::kGguf) {
    return name == "rope_freqs.weight" || name == "rope_factors_long.weight" ||
           name == "rope_factors_short.weight";
  }
  return absl::EndsWith(name, ".rotary_emb.inv_freq");
}

}  // namespace phalanx
