#include "model/spec.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "base/status.h"

namespace phalanx {
namespace {

constexpr absl::string_view kArchitectures[] = {"llama"};

// Without the architecture in front. Keys that change nothing for inference as it is done here are
// among them; all others are refused.
constexpr absl::string_view kKnownKeys[] = {
    "block_count",          "context_length",         "embedding_length",
    "feed_forward_length",  "attention.head_count",   "attention.head_count_kv",
    "attention.key_length", "attention.value_length", "attention.layer_norm_rms_epsilon",
    "rope.freq_base",       "rope.dimension_count",   "rope.scaling.type",
    "vocab_size",
};

// Far above every model known, and low enough that products of two of them fit into int64.
constexpr int64_t kMaxDimension = 1 << 24;

class SpecReader {
 public:
  SpecReader(const GgufFile& file, absl::string_view architecture)
      : file_(file), architecture_(architecture) {}

  absl::StatusOr<ModelSpec> Read();

 private:
  std::string Key(absl::string_view name) const { return absl::StrCat(architecture_, ".", name); }
  absl::Status Impossible(absl::string_view key, absl::string_view what) const {
    return absl::DataLossError(absl::StrCat(file_.path(), ": ", key, ": ", what));
  }

  absl::Status RefuseUnknown() const;
  absl::Status ReadAttention(ModelSpec& spec) const;
  absl::Status ReadNumbers(ModelSpec& spec) const;
  absl::Status ReadVocab(ModelSpec& spec) const;
  // In [1, kMaxDimension].
  absl::StatusOr<int> Dimension(absl::string_view name) const;
  absl::StatusOr<int> DimensionOr(absl::string_view name, int otherwise) const {
    return file_.Has(Key(name)) ? Dimension(name) : otherwise;
  }

  const GgufFile& file_;
  const absl::string_view architecture_;
};

absl::StatusOr<int> SpecReader::Dimension(absl::string_view name) const {
  const std::string key = Key(name);
  const absl::StatusOr<int64_t> value = file_.GetInt(key);
  if (absl::IsNotFound(value.status())) return Impossible(key, "missing");
  RETURN_IF_ERROR(value.status());
  if (*value < 1 || *value > kMaxDimension) {
    return Impossible(key, absl::StrCat(*value, " is not in 1 to ", kMaxDimension));
  }
  return static_cast<int>(*value);
}

absl::Status SpecReader::RefuseUnknown() const {
  const std::string prefix = Key("");
  for (absl::string_view key : file_.Keys()) {
    if (!absl::StartsWith(key, prefix)) continue;
    const absl::string_view name = key.substr(prefix.size());
    if (std::find(std::begin(kKnownKeys), std::end(kKnownKeys), name) == std::end(kKnownKeys)) {
      return absl::UnimplementedError(absl::StrCat(file_.path(), ": ", key, " is not supported; ",
                                                   "of ", prefix,
                                                   "*: ", absl::StrJoin(kKnownKeys, ", ")));
    }
  }
  const absl::StatusOr<absl::string_view> scaling = file_.GetString(Key("rope.scaling.type"));
  if (!absl::IsNotFound(scaling.status())) {
    RETURN_IF_ERROR(scaling.status());
    if (*scaling != "none") {
      return absl::UnimplementedError(absl::StrCat(file_.path(), ": ", Key("rope.scaling.type"),
                                                   " ", *scaling, " is not supported; none is"));
    }
  }
  if (file_.FindTensor("rope_freqs.weight") != nullptr) {
    return absl::UnimplementedError(
        absl::StrCat(file_.path(),
                     ": tensor rope_freqs.weight (scaled rotary frequencies) is not "
                     "supported"));
  }
  return absl::OkStatus();
}

absl::Status SpecReader::ReadAttention(ModelSpec& spec) const {
  ASSIGN_OR_RETURN(spec.num_q_heads, Dimension("attention.head_count"));
  ASSIGN_OR_RETURN(spec.num_kv_heads, DimensionOr("attention.head_count_kv", spec.num_q_heads));
  if (spec.num_q_heads % spec.num_kv_heads != 0) {
    return Impossible(Key("attention.head_count_kv"),
                      absl::StrCat(spec.num_kv_heads, " does not divide ", spec.num_q_heads));
  }
  if (!file_.Has(Key("attention.key_length")) && spec.hidden % spec.num_q_heads != 0) {
    return Impossible(Key("attention.head_count"),
                      absl::StrCat(spec.num_q_heads, " does not divide ", spec.hidden));
  }
  ASSIGN_OR_RETURN(spec.head_dim,
                   DimensionOr("attention.key_length", spec.hidden / spec.num_q_heads));
  ASSIGN_OR_RETURN(const int value_dim, DimensionOr("attention.value_length", spec.head_dim));
  if (value_dim != spec.head_dim) {
    return absl::UnimplementedError(absl::StrCat(
        file_.path(), ": ", Key("attention.value_length"), ": ", value_dim,
        " is not supported where attention.key_length is ", spec.head_dim, "; equal lengths are"));
  }
  if (int64_t{spec.num_q_heads} * spec.head_dim > kMaxDimension) {
    return Impossible(Key("attention.key_length"), "too large for so many heads");
  }
  ASSIGN_OR_RETURN(spec.rotary_dim, DimensionOr("rope.dimension_count", spec.head_dim));
  // The converter orders the rows of whole heads for a rotation of whole heads.
  if (spec.rotary_dim != spec.head_dim) {
    return absl::UnimplementedError(absl::StrCat(
        file_.path(), ": ", Key("rope.dimension_count"), ": ", spec.rotary_dim,
        " is not supported where heads have ", spec.head_dim, " dimensions; all of them are"));
  }
  if (spec.head_dim % 2 != 0) {
    return Impossible(Key("attention.key_length"), absl::StrCat(spec.head_dim, " is odd"));
  }
  return absl::OkStatus();
}

absl::Status SpecReader::ReadNumbers(ModelSpec& spec) const {
  const std::string eps_key = Key("attention.layer_norm_rms_epsilon");
  const absl::StatusOr<double> eps = file_.GetFloat(eps_key);
  if (absl::IsNotFound(eps.status())) return Impossible(eps_key, "missing");
  RETURN_IF_ERROR(eps.status());
  if (!(*eps > 0 && *eps <= 0.1)) return Impossible(eps_key, absl::StrCat(*eps, " is implausible"));
  spec.rms_norm_eps = static_cast<float>(*eps);

  const std::string theta_key = Key("rope.freq_base");
  const absl::StatusOr<double> theta = file_.GetFloat(theta_key);
  if (absl::IsNotFound(theta.status())) {
    spec.rope.theta = 10000.0f;  // llama.cpp's value for files that leave it out.
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(theta.status());
  if (!(*theta >= 1 && *theta <= 1e12)) {
    return Impossible(theta_key, absl::StrCat(*theta, " is implausible"));
  }
  spec.rope.theta = static_cast<float>(*theta);
  return absl::OkStatus();
}

absl::Status SpecReader::ReadVocab(ModelSpec& spec) const {
  const TensorView* embedding = file_.FindTensor("token_embd.weight");
  if (embedding == nullptr) return Impossible("tensor token_embd.weight", "missing");
  if (embedding->cols != spec.hidden || embedding->rows > kMaxDimension) {
    return Impossible("tensor token_embd.weight",
                      absl::StrCat(embedding->rows, " rows of ", embedding->cols,
                                   " elements, where embedding_length is ", spec.hidden));
  }
  spec.vocab = static_cast<int>(embedding->rows);
  ASSIGN_OR_RETURN(const int declared, DimensionOr("vocab_size", spec.vocab));
  if (declared != spec.vocab) {
    return Impossible(Key("vocab_size"), absl::StrCat(declared, ", where token_embd.weight has ",
                                                      spec.vocab, " rows"));
  }
  const auto tokens = file_.GetStrings("tokenizer.ggml.tokens");
  if (absl::IsNotFound(tokens.status())) return Impossible("tokenizer.ggml.tokens", "missing");
  RETURN_IF_ERROR(tokens.status());
  if (static_cast<int64_t>(tokens->size()) != spec.vocab) {
    return Impossible(
        "tokenizer.ggml.tokens",
        absl::StrCat(tokens->size(), " tokens, where token_embd.weight has ", spec.vocab, " rows"));
  }
  spec.tied_embeddings = file_.FindTensor("output.weight") == nullptr;
  return absl::OkStatus();
}

bool IsQuantizationName(absl::string_view text) {
  const std::string upper = absl::AsciiStrToUpper(text);
  absl::string_view name = upper;
  if (name == "F32" || name == "F16" || name == "FP16" || name == "BF16") return true;
  absl::ConsumePrefix(&name, "I");
  return name.size() >= 2 && name[0] == 'Q' && absl::ascii_isdigit(name[1]);
}

std::string NameOf(absl::string_view path) {
  absl::string_view name = path.substr(path.rfind('/') + 1);
  absl::ConsumeSuffix(&name, ".gguf");
  const size_t cut = name.find_last_of(".-");
  if (cut != absl::string_view::npos && cut > 0 && IsQuantizationName(name.substr(cut + 1))) {
    name = name.substr(0, cut);
  }
  return std::string(name);
}

absl::StatusOr<ModelSpec> SpecReader::Read() {
  RETURN_IF_ERROR(RefuseUnknown());
  ModelSpec spec;
  spec.name = NameOf(file_.path());
  spec.architecture = std::string(architecture_);
  spec.interleaved_qk_rows = true;
  ASSIGN_OR_RETURN(spec.num_layers, Dimension("block_count"));
  ASSIGN_OR_RETURN(spec.context_tokens, Dimension("context_length"));
  ASSIGN_OR_RETURN(spec.hidden, Dimension("embedding_length"));
  ASSIGN_OR_RETURN(spec.ffn, Dimension("feed_forward_length"));
  RETURN_IF_ERROR(ReadAttention(spec));
  RETURN_IF_ERROR(ReadNumbers(spec));
  RETURN_IF_ERROR(ReadVocab(spec));
  return spec;
}

}  // namespace

absl::StatusOr<ModelSpec> ReadModelSpec(const GgufFile& file) {
  const absl::StatusOr<absl::string_view> architecture = file.GetString("general.architecture");
  if (absl::IsNotFound(architecture.status())) {
    return absl::DataLossError(absl::StrCat(file.path(), ": general.architecture: missing"));
  }
  RETURN_IF_ERROR(architecture.status());
  if (std::find(std::begin(kArchitectures), std::end(kArchitectures), *architecture) ==
      std::end(kArchitectures)) {
    return absl::UnimplementedError(
        absl::StrCat(file.path(), ": general.architecture ", *architecture,
                     " is not supported; these are: ", absl::StrJoin(kArchitectures, ", ")));
  }
  return SpecReader(file, *architecture).Read();
}

}  // namespace phalanx
