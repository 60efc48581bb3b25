#include "model/spec/hf_config.h"

#include <algorithm>
#include <limits>
#include <optional>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status.h"
#include "model/files/config_reader.h"
#include "model/generation/generation_keys.h"
#include "model/spec/hf_rope.h"

namespace phalanx {
namespace {

struct Class {
  absl::string_view model_type;
  absl::string_view name;
};
constexpr Class kClasses[] = {
    {"llama", "LlamaForCausalLM"}, {"phi3", "Phi3ForCausalLM"}, {"qwen2", "Qwen2ForCausalLM"}};

// Keys that cannot change the logits of a forward pass: bookkeeping, training, and how transformers
// itself runs. Keys about generation are known to generation_keys.h.
constexpr absl::string_view kHarmlessKeys[] = {
    "_attn_implementation_autoset",
    "_name_or_path",
    "attention_dropout",
    "attn_implementation",
    "auto_map",
    "dtype",
    "embd_pdrop",
    "finetuning_task",
    "hidden_dropout",
    "id2label",
    "initializer_range",
    "is_llama_config",
    "label2id",
    "prefix",
    "problem_type",
    "resid_pdrop",
    "return_dict",
    "task_specific_params",
    "tokenizer_class",
    "torch_dtype",
    "torchscript",
    "transformers.js_config",
    "unsloth_fixed",
    "unsloth_version",
};

// Keys that change nothing with this value, and are refused with any other.
struct NeutralKey {
  absl::string_view key;
  absl::string_view value;  // As JsonValue::Describe has it.
};
constexpr NeutralKey kNeutralKeys[] = {
    {"add_cross_attention", "false"},
    {"attention_bias", "false"},
    {"chunk_size_feed_forward", "0"},
    {"full_attn_mod", "1"},
    {"interpolate_factor", "1"},
    {"is_decoder", "false"},
    {"is_encoder_decoder", "false"},
    {"lm_head_bias", "false"},
    {"mlp_bias", "false"},
    {"pretraining_tp", "1"},
    {"rope_interleaved", "false"},
    {"tie_encoder_decoder", "false"},
    {"use_mrope", "false"},
};

class HfConfigReader {
 public:
  HfConfigReader(const JsonValue& config, absl::string_view path)
      : path_(path), json_(config), top_(config, path) {}

  absl::StatusOr<HfConfig> Read(absl::string_view name);

 private:
  absl::Status ReadClass();
  absl::Status ReadShape();
  absl::Status CheckActivation();
  absl::Status CheckWindow();
  absl::Status CheckLayerTypes(bool window_masks);

  const std::string path_;
  const JsonValue& json_;
  ConfigReader top_;
  ModelSpec spec_;
};

absl::Status HfConfigReader::ReadClass() {
  std::vector<absl::string_view> supported;
  for (const Class& c : kClasses) supported.push_back(c.model_type);
  const auto refuse = [&](absl::string_view key, absl::string_view value) {
    return top_.Unsupported(key, absl::CHexEscape(value.substr(0, 60)),
                            " is not supported; these are: ", absl::StrJoin(supported, ", "));
  };
  // Asked first, because the meaning of other keys may depend on it, and it comes with weights of
  // other types.
  if (const JsonValue* quantization = top_.Find("quantization_config")) {
    const JsonValue* const method = quantization->Find("quant_method");
    return top_.Unsupported("quantization_config", "quant_method ",
                            method == nullptr ? "unknown" : method->Describe(),
                            " is not supported; F32, F16 and BF16 weights are");
  }
  ASSIGN_OR_RETURN(const std::string type, top_.StringOr("model_type", ""));
  if (type.empty()) return top_.Impossible("model_type", "missing");
  const auto found = std::find_if(std::begin(kClasses), std::end(kClasses),
                                  [&](const Class& c) { return c.model_type == type; });
  if (found == std::end(kClasses)) return refuse("model_type", type);
  spec_.architecture = type;
  const JsonValue* const classes = top_.Find("architectures");
  if (classes == nullptr) return absl::OkStatus();
  for (const JsonValue& name : classes->elements()) {
    if (name.AsString() == nullptr || *name.AsString() != found->name) {
      return top_.Unsupported("architectures", name.Describe(), " is not supported; ", found->name,
                              " is");
    }
  }
  return absl::OkStatus();
}

absl::Status HfConfigReader::ReadShape() {
  ASSIGN_OR_RETURN(spec_.hidden, top_.Dimension("hidden_size"));
  ASSIGN_OR_RETURN(spec_.ffn, top_.Dimension("intermediate_size"));
  ASSIGN_OR_RETURN(spec_.num_layers, top_.Dimension("num_hidden_layers"));
  ASSIGN_OR_RETURN(spec_.num_q_heads, top_.Dimension("num_attention_heads"));
  ASSIGN_OR_RETURN(const std::optional<int> kv_heads,
                   top_.OptionalDimension("num_key_value_heads"));
  spec_.num_kv_heads = kv_heads.value_or(spec_.num_q_heads);
  ASSIGN_OR_RETURN(const std::optional<int> head_dim, top_.OptionalDimension("head_dim"));
  if (!head_dim && spec_.hidden % spec_.num_q_heads != 0) {
    return top_.Impossible("num_attention_heads", spec_.num_q_heads, " does not divide ",
                           spec_.hidden);
  }
  spec_.head_dim = head_dim.value_or(spec_.hidden / spec_.num_q_heads);
  if (spec_.head_dim > kMaxHeadDim) {
    return top_.Impossible("head_dim", spec_.head_dim, " is more than ", kMaxHeadDim);
  }
  ASSIGN_OR_RETURN(spec_.vocab, top_.Dimension("vocab_size"));
  ASSIGN_OR_RETURN(spec_.context_tokens, top_.Dimension("max_position_embeddings"));
  ASSIGN_OR_RETURN(const double eps, top_.Number("rms_norm_eps"));
  spec_.rms_norm_eps = static_cast<float>(eps);
  ASSIGN_OR_RETURN(spec_.tied_embeddings, top_.BoolOr("tie_word_embeddings", false));
  return CheckActivation();
}

absl::Status HfConfigReader::CheckActivation() {
  const JsonValue* const activation = top_.Find("hidden_act");
  if (activation == nullptr) return absl::OkStatus();  // silu is transformers' default.
  if (activation->AsString() != nullptr && *activation->AsString() == "silu") {
    return absl::OkStatus();
  }
  return top_.Unsupported("hidden_act", activation->Describe(), " is not supported; silu is");
}

// Accepts only windows that never mask a token. Llama has none.
absl::Status HfConfigReader::CheckWindow() {
  bool used = spec_.architecture == "phi3";
  int first_layer = 0;
  if (spec_.architecture == "qwen2") {
    ASSIGN_OR_RETURN(used, top_.BoolOr("use_sliding_window", false));
    const JsonValue* const layers = top_.Find("max_window_layers");
    // transformers' default.
    const int64_t full_layers = layers == nullptr ? 28 : layers->AsInt().value_or(-1);
    if (full_layers < 0) {
      return top_.Impossible("max_window_layers", layers->Describe(), " is not a number of layers");
    }
    first_layer = static_cast<int>(std::min<int64_t>(full_layers, spec_.num_layers));
  }
  if (spec_.architecture == "llama") return CheckLayerTypes(/*window_masks=*/true);
  ASSIGN_OR_RETURN(const std::optional<int> window, top_.OptionalDimension("sliding_window"));
  // transformers' default for a Qwen2 that uses windows is one of 4096 tokens.
  const bool masks = (window.has_value() || spec_.architecture == "qwen2") &&
                     window.value_or(4096) < spec_.context_tokens;
  if (used && masks && first_layer < spec_.num_layers) {
    return top_.Unsupported("sliding_window", "a window of ", window.value_or(4096),
                            " tokens is not supported where the context has ", spec_.context_tokens,
                            "; one that never masks is");
  }
  return CheckLayerTypes(!used || masks);
}

absl::Status HfConfigReader::CheckLayerTypes(bool window_masks) {
  const JsonValue* const types = top_.Find("layer_types");
  if (types == nullptr) return absl::OkStatus();
  if (types->elements().size() != static_cast<size_t>(spec_.num_layers)) {
    return top_.Impossible("layer_types", "not a list of one type for each of ", spec_.num_layers,
                           " layers");
  }
  for (const JsonValue& type : types->elements()) {
    const std::string* const name = type.AsString();
    if (name != nullptr && *name == "full_attention") continue;
    if (name != nullptr && *name == "sliding_attention" && !window_masks) continue;
    return top_.Unsupported("layer_types", type.Describe(), " is not supported; full_attention is");
  }
  return absl::OkStatus();
}

absl::StatusOr<HfConfig> HfConfigReader::Read(absl::string_view name) {
  spec_.name = std::string(name);
  spec_.tensor_naming = TensorNaming::kHuggingFace;
  RETURN_IF_ERROR(ReadClass());
  RETURN_IF_ERROR(ReadShape());
  RETURN_IF_ERROR(CheckWindow());
  spec_.fused_projections = spec_.architecture == "phi3";
  spec_.qkv_bias = spec_.architecture == "qwen2";
  SpecKeys keys;
  keys.num_q_heads = "num_attention_heads";
  keys.num_kv_heads = "num_key_value_heads";
  keys.head_dim = "head_dim";
  keys.rms_norm_eps = "rms_norm_eps";
  RETURN_IF_ERROR(ReadHfRope(top_, spec_, keys));
  HfConfig config;
  if (const JsonValue* eos = top_.Find("eos_token_id")) {
    ASSIGN_OR_RETURN(config.eos_token_ids, ReadTokenIds(*eos, path_, "eos_token_id"));
  }
  // To ask for a key is to accept it, for RefuseOthers.
  for (const absl::string_view key : kHarmlessKeys) top_.Find(key);
  for (const JsonMember& member : json_.members()) {
    if (GenerationConfigKeyKind(member.key) != GenerationKeyKind::kUnknown) top_.Find(member.key);
  }
  for (const NeutralKey& neutral : kNeutralKeys) {
    const JsonValue* const value = top_.Find(neutral.key);
    if (value != nullptr && value->Describe() != neutral.value) {
      return top_.Unsupported(neutral.key, value->Describe(), " is not supported; ", neutral.value,
                              " is");
    }
  }
  RETURN_IF_ERROR(top_.RefuseOthers());
  RETURN_IF_ERROR(CheckModelSpec(spec_, path_, keys));
  config.spec = std::move(spec_);
  return config;
}

}  // namespace

absl::StatusOr<HfConfig> ReadHfConfig(const JsonValue& config, absl::string_view path,
                                      absl::string_view name) {
  if (!config.is_object()) {
    return absl::DataLossError(absl::StrCat(path, ": ", config.TypeName(), ", not an object"));
  }
  return HfConfigReader(config, path).Read(name);
}

}  // namespace phalanx
