#include "model/spec/hf_rope.h"

#include <optional>
#include <string>

#include "absl/strings/escaping.h"
#include "base/status.h"
#include "model/spec/rope_scaling.h"

namespace phalanx {
namespace {

constexpr absl::string_view kOriginalContext = "original_max_position_embeddings";

class HfRopeReader {
 public:
  HfRopeReader(ConfigReader& top, ConfigReader& rope, ModelSpec& spec)
      : top_(top), rope_(rope), spec_(spec) {}

  absl::Status Read();

 private:
  // The value of a key that is in the rotary object, at the top level, or in both with the same
  // value.
  absl::StatusOr<std::optional<double>> NumberInEither(absl::string_view key);
  absl::StatusOr<int> OriginalContext();
  absl::StatusOr<std::string> RopeType();
  absl::Status ReadRotaryDim();
  absl::Status ReadLlama3();
  absl::Status ReadLongRope();

  ConfigReader& top_;
  ConfigReader& rope_;
  ModelSpec& spec_;
};

absl::StatusOr<std::optional<double>> HfRopeReader::NumberInEither(absl::string_view key) {
  ASSIGN_OR_RETURN(const std::optional<double> outer, top_.OptionalNumber(key));
  ASSIGN_OR_RETURN(const std::optional<double> inner, rope_.OptionalNumber(key));
  // Versions of transformers differ in which of the two they take.
  if (outer && inner && *outer != *inner) {
    return rope_.Impossible(key, *inner, ", where ", key, " of the whole is ", *outer);
  }
  return inner ? inner : outer;
}

absl::StatusOr<std::string> HfRopeReader::RopeType() {
  ASSIGN_OR_RETURN(const std::string old_type, rope_.StringOr("type", ""));
  ASSIGN_OR_RETURN(std::string type, rope_.StringOr("rope_type", old_type));
  if (type.empty()) type = "default";
  if (!old_type.empty() && old_type != type) {
    return rope_.Impossible("rope_type", absl::CHexEscape(type.substr(0, 60)), ", where type is ",
                            absl::CHexEscape(old_type.substr(0, 60)));
  }
  const bool is_phi3 = spec_.architecture == "phi3";
  // Names that LongRoPE had in Phi-3's first files.
  if (is_phi3 && (type == "su" || type == "yarn")) return "longrope";
  if (type == "default" || (is_phi3 && type == "longrope") ||
      (!is_phi3 && (type == "linear" || type == "llama3"))) {
    return type;
  }
  return rope_.Unsupported("rope_type", absl::CHexEscape(type.substr(0, 60)),
                           " is not supported in ", spec_.architecture, "; these are: ",
                           is_phi3 ? "default, longrope" : "default, linear, llama3");
}

absl::Status HfRopeReader::ReadRotaryDim() {
  ASSIGN_OR_RETURN(const std::optional<double> part, NumberInEither("partial_rotary_factor"));
  if (part && !(*part > 0 && *part <= 1)) {
    return top_.Impossible("partial_rotary_factor", *part, " is not in (0, 1]");
  }
  if (part && *part != 1 && spec_.architecture != "phi3") {
    return top_.Unsupported("partial_rotary_factor", *part, " is not supported in ",
                            spec_.architecture, "; 1 is");
  }
  spec_.rotary_dim = static_cast<int>(spec_.head_dim * part.value_or(1.0));
  return absl::OkStatus();
}

absl::Status HfRopeReader::ReadLlama3() {
  Llama3Scaling scaling;
  ASSIGN_OR_RETURN(scaling.factor, rope_.Number("factor"));
  ASSIGN_OR_RETURN(scaling.low_freq_factor, rope_.Number("low_freq_factor"));
  ASSIGN_OR_RETURN(scaling.high_freq_factor, rope_.Number("high_freq_factor"));
  ASSIGN_OR_RETURN(scaling.original_context_tokens, OriginalContext());
  if (!(scaling.low_freq_factor > 0 && scaling.high_freq_factor > scaling.low_freq_factor)) {
    return rope_.Impossible("high_freq_factor", scaling.high_freq_factor,
                            ", where low_freq_factor is ", scaling.low_freq_factor);
  }
  spec_.rope.factors = Llama3Factors(scaling, spec_.rope.theta, spec_.rotary_dim);
  return absl::OkStatus();
}

absl::StatusOr<int> HfRopeReader::OriginalContext() {
  ASSIGN_OR_RETURN(const std::optional<int> inner, rope_.OptionalDimension(kOriginalContext));
  ASSIGN_OR_RETURN(const std::optional<int> outer, top_.OptionalDimension(kOriginalContext));
  if (inner && outer && *inner != *outer) {
    return rope_.Impossible(kOriginalContext, *inner, ", where ", kOriginalContext,
                            " of the whole is ", *outer);
  }
  if (!inner && !outer) return rope_.Impossible(kOriginalContext, "missing");
  return inner ? *inner : *outer;
}

absl::Status HfRopeReader::ReadLongRope() {
  ASSIGN_OR_RETURN(spec_.rope.factors, rope_.Numbers("short_factor"));
  ASSIGN_OR_RETURN(spec_.rope.long_factors, rope_.Numbers("long_factor"));
  ASSIGN_OR_RETURN(const int original, OriginalContext());
  spec_.rope.original_context_tokens = original;
  ASSIGN_OR_RETURN(const std::optional<double> growth, rope_.OptionalNumber("factor"));
  ASSIGN_OR_RETURN(const std::optional<double> attention, rope_.OptionalNumber("attention_factor"));
  spec_.rope.attention_factor =
      attention ? static_cast<float>(*attention)
                : LongRopeAttentionFactor(growth.value_or(1.0 * spec_.context_tokens / original),
                                          original);
  return absl::OkStatus();
}

absl::Status HfRopeReader::Read() {
  ASSIGN_OR_RETURN(const std::optional<double> theta, NumberInEither("rope_theta"));
  // transformers' default in all three classes.
  spec_.rope.theta = static_cast<float>(theta.value_or(10000.0));
  RETURN_IF_ERROR(ReadRotaryDim());
  ASSIGN_OR_RETURN(const std::string type, RopeType());
  if (type == "longrope") {
    RETURN_IF_ERROR(ReadLongRope());
  } else if (type == "llama3") {
    RETURN_IF_ERROR(ReadLlama3());
  } else if (type == "linear") {
    ASSIGN_OR_RETURN(const double factor, rope_.Number("factor"));
    spec_.rope.factors = LinearFactors(factor, spec_.rotary_dim);
  } else if (spec_.architecture == "phi3") {
    // Files of short contexts have the key too, where it changes nothing.
    RETURN_IF_ERROR(top_.OptionalDimension(kOriginalContext).status());
    RETURN_IF_ERROR(rope_.OptionalDimension(kOriginalContext).status());
  }
  return rope_.RefuseOthers();
}

// The object that holds the rotary parameters; null if there is none.
absl::StatusOr<const JsonValue*> FindRope(ConfigReader& top, std::string& key) {
  const JsonValue* const scaling = top.Find("rope_scaling");
  const JsonValue* const parameters = top.Find("rope_parameters");
  if (scaling != nullptr && parameters != nullptr) {
    return top.Impossible("rope_parameters", "there is a rope_scaling too");
  }
  key = scaling != nullptr ? "rope_scaling" : "rope_parameters";
  const JsonValue* const object = scaling != nullptr ? scaling : parameters;
  if (object != nullptr && !object->is_object()) {
    return top.Impossible(key, object->Describe(), " is not an object");
  }
  return object;
}

}  // namespace

absl::Status ReadHfRope(ConfigReader& top, ModelSpec& spec, SpecKeys& keys) {
  std::string key;
  ASSIGN_OR_RETURN(const JsonValue* object, FindRope(top, key));
  const JsonValue none;
  const std::string prefix = object == nullptr ? "" : absl::StrCat(key, ".");
  ConfigReader rope(object == nullptr ? none : *object, top.path(), prefix);
  RETURN_IF_ERROR(HfRopeReader(top, rope, spec).Read());
  keys.rotary_dim = spec.architecture == "phi3" ? "partial_rotary_factor" : "head_dim";
  keys.theta = "rope_theta";
  keys.factors = rope.Name(spec.rope.long_factors.empty() ? "factor" : "short_factor");
  keys.long_factors = rope.Name("long_factor");
  keys.original_context_tokens = std::string(kOriginalContext);
  keys.attention_factor = rope.Name("attention_factor");
  return absl::OkStatus();
}

}  // namespace phalanx
