#include "model/spec/gguf_spec.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "base/number_text.h"
#include "base/status.h"
#include "model/files/tensor.h"
#include "model/spec/model_name.h"
#include "model/spec/rope_scaling.h"

namespace phalanx {
namespace {

constexpr absl::string_view kFreqs = "rope_freqs.weight";
constexpr absl::string_view kShortFactors = "rope_factors_short.weight";
constexpr absl::string_view kLongFactors = "rope_factors_long.weight";

// Keys without the architecture in front. Some of them change nothing for inference as it is done
// here. All others are refused.
constexpr absl::string_view kKnownKeys[] = {
    "block_count",
    "context_length",
    "embedding_length",
    "feed_forward_length",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.value_length",
    "attention.layer_norm_rms_epsilon",
    "attention.sliding_window",
    "attention.causal",
    "rope.freq_base",
    "rope.dimension_count",
    "rope.scaling.type",
    "rope.scaling.factor",
    "rope.scaling.attn_factor",
    "rope.scaling.original_context_length",
    "rope.scaling.finetuned",
    "expert_count",
    "expert_used_count",
    "vocab_size",
};

class GgufSpecReader {
 public:
  GgufSpecReader(const GgufFile& file, const TensorTable& tensors, absl::string_view architecture)
      : file_(file), tensors_(tensors), architecture_(architecture) {}

  absl::StatusOr<ModelSpec> Read();

 private:
  std::string Key(absl::string_view name) const { return absl::StrCat(architecture_, ".", name); }
  SpecKeys Keys() const;
  template <typename... What>
  absl::Status Impossible(absl::string_view key, const What&... what) const {
    return absl::DataLossError(absl::StrCat(file_.path(), ": ", key, ": ", Readable(what)...));
  }
  template <typename... What>
  absl::Status Unsupported(absl::string_view key, const What&... what) const {
    return absl::UnimplementedError(absl::StrCat(file_.path(), ": ", key, ": ", Readable(what)...));
  }

  absl::Status RefuseUnknown() const;
  absl::Status RefuseExperts() const;
  absl::Status ReadAttention(ModelSpec& spec) const;
  absl::Status CheckSlidingWindow(const ModelSpec& spec) const;
  absl::Status ReadVocab(ModelSpec& spec) const;
  absl::Status ReadLayout(ModelSpec& spec) const;
  absl::Status ReadRope(ModelSpec& spec) const;
  absl::Status ReadRopeScaling(ModelSpec& spec) const;
  absl::Status ReadRopeLists(ModelSpec& spec) const;
  // Refuses keys of a scaling of which the factors are missing.
  absl::Status RefuseHalfAScaling(const ModelSpec& spec) const;
  absl::Status ReadLongRope(const TensorView& short_list, const TensorView& long_list,
                            ModelSpec& spec) const;
  absl::StatusOr<std::vector<float>> FactorsOf(const TensorView& tensor) const;

  // In [1, kMaxModelDimension].
  absl::StatusOr<int> Dimension(absl::string_view name) const;
  absl::StatusOr<int> DimensionOr(absl::string_view name, int otherwise) const {
    return file_.Has(Key(name)) ? Dimension(name) : otherwise;
  }
  absl::StatusOr<float> FloatOr(absl::string_view name, float otherwise) const;

  const GgufFile& file_;
  const TensorTable& tensors_;
  const absl::string_view architecture_;
};

SpecKeys GgufSpecReader::Keys() const {
  return {.num_q_heads = Key("attention.head_count"),
          .num_kv_heads = Key("attention.head_count_kv"),
          .head_dim = Key("attention.key_length"),
          .rotary_dim = Key("rope.dimension_count"),
          .rms_norm_eps = Key("attention.layer_norm_rms_epsilon"),
          .theta = Key("rope.freq_base"),
          .factors = absl::StrCat("tensor ", tensors_.Find(kFreqs) ? kFreqs : kShortFactors),
          .long_factors = absl::StrCat("tensor ", kLongFactors),
          .original_context_tokens = Key("rope.scaling.original_context_length"),
          .attention_factor = Key("rope.scaling.attn_factor")};
}

absl::StatusOr<int> GgufSpecReader::Dimension(absl::string_view name) const {
  const std::string key = Key(name);
  const absl::StatusOr<int64_t> value = file_.GetInt(key);
  if (absl::IsNotFound(value.status())) return Impossible(key, "missing");
  RETURN_IF_ERROR(value.status());
  if (*value < 1 || *value > kMaxModelDimension) {
    return Impossible(key, *value, " is not in 1 to ", kMaxModelDimension);
  }
  return static_cast<int>(*value);
}

absl::StatusOr<float> GgufSpecReader::FloatOr(absl::string_view name, float otherwise) const {
  const absl::StatusOr<double> value = file_.GetFloat(Key(name));
  if (absl::IsNotFound(value.status())) return otherwise;
  RETURN_IF_ERROR(value.status());
  return static_cast<float>(*value);
}

absl::Status GgufSpecReader::RefuseUnknown() const {
  const std::string prefix = Key("");
  for (absl::string_view key : file_.Keys()) {
    if (!absl::StartsWith(key, prefix)) continue;
    const absl::string_view name = key.substr(prefix.size());
    if (std::find(std::begin(kKnownKeys), std::end(kKnownKeys), name) == std::end(kKnownKeys)) {
      return absl::UnimplementedError(absl::StrCat(file_.path(), ": ", absl::CHexEscape(key),
                                                   " is not supported; of ", prefix,
                                                   "*: ", absl::StrJoin(kKnownKeys, ", ")));
    }
  }
  return RefuseExperts();
}

absl::Status GgufSpecReader::RefuseExperts() const {
  for (const absl::string_view name : {"expert_count", "expert_used_count"}) {
    const absl::StatusOr<int64_t> experts = file_.GetInt(Key(name));
    if (absl::IsNotFound(experts.status())) continue;
    RETURN_IF_ERROR(experts.status());
    if (*experts != 0) return Unsupported(Key(name), "experts are not supported");
  }
  const absl::StatusOr<bool> causal = file_.GetBool(Key("attention.causal"));
  if (absl::IsNotFound(causal.status())) return absl::OkStatus();
  RETURN_IF_ERROR(causal.status());
  return *causal ? absl::OkStatus()
                 : Unsupported(Key("attention.causal"), "only causal attention is supported");
}

absl::Status GgufSpecReader::ReadAttention(ModelSpec& spec) const {
  ASSIGN_OR_RETURN(spec.num_q_heads, Dimension("attention.head_count"));
  ASSIGN_OR_RETURN(spec.num_kv_heads, DimensionOr("attention.head_count_kv", spec.num_q_heads));
  if (!file_.Has(Key("attention.key_length")) && spec.hidden % spec.num_q_heads != 0) {
    return Impossible(Key("attention.head_count"), spec.num_q_heads, " does not divide ",
                      spec.hidden);
  }
  ASSIGN_OR_RETURN(spec.head_dim,
                   DimensionOr("attention.key_length", spec.hidden / spec.num_q_heads));
  ASSIGN_OR_RETURN(const int value_dim, DimensionOr("attention.value_length", spec.head_dim));
  if (value_dim != spec.head_dim) {
    return Unsupported(Key("attention.value_length"), value_dim,
                       " is not supported where attention.key_length is ", spec.head_dim,
                       "; equal lengths are");
  }
  if (spec.head_dim > kMaxHeadDim) {
    return Impossible(Key("attention.key_length"), spec.head_dim, " is more than ", kMaxHeadDim);
  }
  ASSIGN_OR_RETURN(spec.rotary_dim, DimensionOr("rope.dimension_count", spec.head_dim));
  if (spec.rotary_dim > spec.head_dim) {
    return Impossible(Key("rope.dimension_count"), spec.rotary_dim, " is more than the ",
                      spec.head_dim, " dimensions of a head");
  }
  // The converter reorders the rows of a head as if all of it were rotated.
  if (spec.interleaved_qk_rows && spec.rotary_dim != spec.head_dim) {
    return Unsupported(Key("rope.dimension_count"), spec.rotary_dim,
                       " is not supported where heads have ", spec.head_dim,
                       " dimensions; all of them are");
  }
  ASSIGN_OR_RETURN(spec.rms_norm_eps, FloatOr("attention.layer_norm_rms_epsilon", -1.0f));
  if (spec.rms_norm_eps == -1.0f) {
    return Impossible(Key("attention.layer_norm_rms_epsilon"), "missing");
  }
  return CheckSlidingWindow(spec);
}

absl::Status GgufSpecReader::CheckSlidingWindow(const ModelSpec& spec) const {
  const std::string key = Key("attention.sliding_window");
  const absl::StatusOr<int64_t> window = file_.GetInt(key);
  if (absl::IsNotFound(window.status())) return absl::OkStatus();
  RETURN_IF_ERROR(window.status());
  // The converter writes 0 if there is no window.
  if (*window == 0 || *window >= spec.context_tokens) return absl::OkStatus();
  return Unsupported(key, "a window of ", *window,
                     " tokens is not supported where the context has ", spec.context_tokens,
                     "; one that never masks is");
}

absl::Status GgufSpecReader::ReadVocab(ModelSpec& spec) const {
  const TensorView* embedding = tensors_.Find("token_embd.weight");
  if (embedding == nullptr) return Impossible("tensor token_embd.weight", "missing");
  if (embedding->cols != spec.hidden || embedding->rows > kMaxModelDimension) {
    return Impossible("tensor token_embd.weight", embedding->rows, " rows of ", embedding->cols,
                      " elements, where embedding_length is ", spec.hidden);
  }
  // What counts is the table itself; the keys must agree with it.
  spec.vocab = static_cast<int>(embedding->rows);
  ASSIGN_OR_RETURN(const int declared, DimensionOr("vocab_size", spec.vocab));
  if (declared != spec.vocab) {
    return Impossible(Key("vocab_size"), declared, ", where token_embd.weight has ", spec.vocab,
                      " rows");
  }
  const auto tokens = file_.GetStrings("tokenizer.ggml.tokens");
  if (absl::IsNotFound(tokens.status())) return Impossible("tokenizer.ggml.tokens", "missing");
  RETURN_IF_ERROR(tokens.status());
  if (static_cast<int64_t>(tokens->size()) != spec.vocab) {
    return Impossible("tokenizer.ggml.tokens", tokens->size(),
                      " tokens, where token_embd.weight has ", spec.vocab, " rows");
  }
  spec.tied_embeddings = tensors_.Find("output.weight") == nullptr;
  return absl::OkStatus();
}

absl::Status GgufSpecReader::ReadLayout(ModelSpec& spec) const {
  spec.fused_projections = architecture_ == "phi3";
  spec.qkv_bias = architecture_ == "qwen2";
  if (spec.fused_projections && tensors_.Find("blk.0.attn_q.weight") != nullptr) {
    return Unsupported("tensor blk.0.attn_q.weight",
                       "phi3 with q, k and v apart is not supported; one attn_qkv.weight is");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<float>> GgufSpecReader::FactorsOf(const TensorView& tensor) const {
  if (tensor.type != TensorType::kF32 || tensor.rows != 1 || tensor.cols > kMaxModelDimension) {
    return Impossible(absl::StrCat("tensor ", tensor.name), TensorTypeName(tensor.type), ", ",
                      tensor.rows, " rows of ", tensor.cols,
                      " elements, where a vector of F32 is expected");
  }
  std::vector<float> factors(tensor.cols);
  std::memcpy(factors.data(), tensor.data.data(), tensor.data.size());
  return factors;
}

absl::Status GgufSpecReader::ReadLongRope(const TensorView& short_list, const TensorView& long_list,
                                          ModelSpec& spec) const {
  ASSIGN_OR_RETURN(spec.rope.factors, FactorsOf(short_list));
  ASSIGN_OR_RETURN(spec.rope.long_factors, FactorsOf(long_list));
  ASSIGN_OR_RETURN(spec.rope.original_context_tokens,
                   Dimension("rope.scaling.original_context_length"));
  // Old converters left the factor out and meant this one.
  const double growth = 1.0 * spec.context_tokens / spec.rope.original_context_tokens;
  ASSIGN_OR_RETURN(spec.rope.attention_factor,
                   FloatOr("rope.scaling.attn_factor",
                           LongRopeAttentionFactor(growth, spec.rope.original_context_tokens)));
  return absl::OkStatus();
}

absl::Status GgufSpecReader::ReadRopeLists(ModelSpec& spec) const {
  const TensorView* const freqs = tensors_.Find(kFreqs);
  const TensorView* const short_list = tensors_.Find(kShortFactors);
  const TensorView* const long_list = tensors_.Find(kLongFactors);
  for (const TensorView* tensor : {freqs, short_list, long_list}) {
    const absl::string_view owner = tensor == freqs ? "llama" : "phi3";
    if (tensor != nullptr && architecture_ != owner) {
      return Unsupported(absl::StrCat("tensor ", tensor->name), "not supported in ", architecture_,
                         "; in ", owner, " it is");
    }
  }
  if (freqs != nullptr) {
    ASSIGN_OR_RETURN(spec.rope.factors, FactorsOf(*freqs));
    return absl::OkStatus();
  }
  if (short_list != nullptr && long_list != nullptr) {
    return ReadLongRope(*short_list, *long_list, spec);
  }
  if (short_list != nullptr || long_list != nullptr) {
    return Impossible(absl::StrCat("tensor ", short_list ? kLongFactors : kShortFactors),
                      "missing, where the other list of LongRoPE is there");
  }
  return absl::OkStatus();
}

absl::Status GgufSpecReader::ReadRope(ModelSpec& spec) const {
  // llama.cpp's value for files that leave it out.
  ASSIGN_OR_RETURN(spec.rope.theta, FloatOr("rope.freq_base", 10000.0f));
  RETURN_IF_ERROR(ReadRopeLists(spec));
  RETURN_IF_ERROR(ReadRopeScaling(spec));
  return RefuseHalfAScaling(spec);
}

absl::Status GgufSpecReader::RefuseHalfAScaling(const ModelSpec& spec) const {
  if (!spec.rope.long_factors.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const float attention_factor, FloatOr("rope.scaling.attn_factor", 1.0f));
  if (attention_factor != 1.0f) {
    return Unsupported(Key("rope.scaling.attn_factor"), attention_factor,
                       " is not supported without the tensors ", kShortFactors, " and ",
                       kLongFactors, "; 1 is");
  }
  const std::string original_key = Key("rope.scaling.original_context_length");
  if (!file_.Has(original_key) || !spec.rope.factors.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const int original, Dimension("rope.scaling.original_context_length"));
  if (original >= spec.context_tokens) return absl::OkStatus();
  // Without the factors it would answer wrongly from the first token on.
  const absl::string_view way =
      architecture_ == "phi3"
          ? "the tensors rope_factors_short.weight and rope_factors_long.weight are missing"
          : "nothing tells by which rotary factors";
  return Impossible(original_key, original, ", where the context was extended to ",
                    spec.context_tokens, ": ", way);
}

absl::Status GgufSpecReader::ReadRopeScaling(ModelSpec& spec) const {
  const std::string type_key = Key("rope.scaling.type");
  // llama.cpp takes a factor without a type as a linear one.
  absl::string_view type = spec.rope.factors.empty() ? "linear" : "none";
  if (file_.Has(type_key)) {
    ASSIGN_OR_RETURN(type, file_.GetString(type_key));
  }
  if (type != "none" && type != "linear" && type != "longrope") {
    return Unsupported(type_key, absl::CHexEscape(type.substr(0, 40)),
                       " is not supported; none, linear and longrope are");
  }
  if (type == "longrope" && spec.rope.long_factors.empty()) {
    return Impossible(absl::StrCat("tensor ", kLongFactors), "missing, where ", type_key,
                      " is longrope");
  }
  ASSIGN_OR_RETURN(const float factor, FloatOr("rope.scaling.factor", 1.0f));
  if (factor == 1.0f) return absl::OkStatus();
  if (type != "linear" || !spec.rope.factors.empty()) {
    return Unsupported(Key("rope.scaling.factor"), factor,
                       " is not supported beside rotary factors of another kind");
  }
  if (!(factor > 0)) return Impossible(Key("rope.scaling.factor"), factor, " is implausible");
  spec.rope.factors = LinearFactors(factor, spec.rotary_dim);
  return absl::OkStatus();
}

absl::StatusOr<ModelSpec> GgufSpecReader::Read() {
  RETURN_IF_ERROR(RefuseUnknown());
  ModelSpec spec;
  spec.name = FileModelName(file_.path());
  spec.architecture = std::string(architecture_);
  spec.tensor_naming = TensorNaming::kGguf;
  spec.interleaved_qk_rows = architecture_ == "llama";
  ASSIGN_OR_RETURN(spec.num_layers, Dimension("block_count"));
  ASSIGN_OR_RETURN(spec.context_tokens, Dimension("context_length"));
  ASSIGN_OR_RETURN(spec.hidden, Dimension("embedding_length"));
  ASSIGN_OR_RETURN(spec.ffn, Dimension("feed_forward_length"));
  RETURN_IF_ERROR(ReadAttention(spec));
  RETURN_IF_ERROR(ReadVocab(spec));
  RETURN_IF_ERROR(ReadLayout(spec));
  RETURN_IF_ERROR(ReadRope(spec));
  RETURN_IF_ERROR(CheckModelSpec(spec, file_.path(), Keys()));
  return spec;
}

absl::Status CheckIsModel(const GgufFile& file) {
  const absl::StatusOr<absl::string_view> type = file.GetString("general.type");
  if (absl::IsNotFound(type.status())) return absl::OkStatus();
  RETURN_IF_ERROR(type.status());
  if (*type == "model") return absl::OkStatus();
  return absl::UnimplementedError(absl::StrCat(file.path(), ": general.type ",
                                               absl::CHexEscape(type->substr(0, 40)),
                                               " is not supported; model is"));
}

}  // namespace

absl::StatusOr<ModelSpec> ReadGgufSpec(const GgufFile& file, const TensorTable& tensors) {
  RETURN_IF_ERROR(CheckIsModel(file));
  const absl::StatusOr<absl::string_view> architecture = file.GetString("general.architecture");
  if (absl::IsNotFound(architecture.status())) {
    return absl::DataLossError(absl::StrCat(file.path(), ": general.architecture: missing"));
  }
  RETURN_IF_ERROR(architecture.status());
  const absl::Span<const absl::string_view> supported = SupportedArchitectures();
  if (std::find(supported.begin(), supported.end(), *architecture) == supported.end()) {
    return absl::UnimplementedError(absl::StrCat(
        file.path(), ": general.architecture ", absl::CHexEscape(architecture->substr(0, 40)),
        " is not supported; these are: ", absl::StrJoin(supported, ", ")));
  }
  return GgufSpecReader(file, tensors, *architecture).Read();
}

}  // namespace phalanx
