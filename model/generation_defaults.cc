#include "model/generation_defaults.h"

#include <cstdint>
#include <optional>

#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "model/config_reader.h"
#include "model/hf_config.h"

namespace phalanx {
namespace {

constexpr double kMaxTemperature = 100.0;
constexpr int64_t kMaxTopK = 1 << 20;

// What is no advice on sampling, or is about how transformers itself runs.
constexpr absl::string_view kOtherKeys[] = {
    "_from_model_config",
    "bos_token_id",
    "cache_implementation",
    "output_attentions",
    "output_hidden_states",
    "output_logits",
    "output_scores",
    "pad_token_id",
    "return_dict_in_generate",
    "transformers_version",
    "use_cache",
};

// Advice that changes nothing with this value.
struct NeutralKey {
  absl::string_view key;
  double value;
};
constexpr NeutralKey kNeutralKeys[] = {
    {"diversity_penalty", 0},
    {"encoder_no_repeat_ngram_size", 0},
    {"encoder_repetition_penalty", 1},
    {"epsilon_cutoff", 0},
    {"eta_cutoff", 0},
    {"guidance_scale", 1},
    {"length_penalty", 1},
    {"min_length", 0},
    {"min_p", 0},
    {"no_repeat_ngram_size", 0},
    {"num_beam_groups", 1},
    {"num_beams", 1},
    {"num_return_sequences", 1},
    {"penalty_alpha", 0},
    {"repetition_penalty", 1},
    {"top_h", 0},
    {"typical_p", 1},
};

bool IsNeutral(const JsonMember& member) {
  if (member.value.is_null() || member.value.AsBool() == false) return true;
  for (const absl::string_view key : kOtherKeys) {
    if (member.key == key) return true;
  }
  for (const NeutralKey& neutral : kNeutralKeys) {
    if (member.key == neutral.key) return member.value.AsNumber() == neutral.value;
  }
  return false;
}

absl::Status ReadSampling(ConfigReader& reader, GenerationDefaults& defaults) {
  ASSIGN_OR_RETURN(const bool do_sample, reader.BoolOr("do_sample", false));
  ASSIGN_OR_RETURN(const std::optional<double> temperature, reader.OptionalNumber("temperature"));
  ASSIGN_OR_RETURN(const std::optional<double> top_k, reader.OptionalNumber("top_k"));
  ASSIGN_OR_RETURN(const std::optional<double> top_p, reader.OptionalNumber("top_p"));
  if (!do_sample) return absl::OkStatus();
  // transformers' defaults for who samples.
  defaults = {.temperature = 1.0f, .top_k = 50};
  // Whether there is a value to take; one out of range is advice that is not followed.
  const auto has = [&](absl::string_view key, std::optional<double> value, double least,
                       double most) {
    if (value && !(*value >= least && *value <= most)) {
      defaults.ignored.push_back(absl::StrCat(key, ": ", *value, " is out of range"));
      return false;
    }
    return value.has_value();
  };
  if (has("temperature", temperature, 0, kMaxTemperature)) {
    defaults.temperature = static_cast<float>(*temperature);
  }
  if (has("top_k", top_k, 0, kMaxTopK)) defaults.top_k = static_cast<int>(*top_k);
  if (has("top_p", top_p, 1e-6, 1)) defaults.top_p = static_cast<float>(*top_p);
  return absl::OkStatus();
}

}  // namespace

GenerationDefaults ReadGenerationDefaults(const GgufFile& file) {
  GenerationDefaults defaults;
  const absl::StatusOr<double> temperature = file.GetFloat("general.sampling.temp");
  if (temperature.ok() && *temperature >= 0 && *temperature <= kMaxTemperature) {
    defaults.temperature = static_cast<float>(*temperature);
  }
  const absl::StatusOr<int64_t> top_k = file.GetInt("general.sampling.top_k");
  if (top_k.ok() && *top_k >= 0 && *top_k <= kMaxTopK) defaults.top_k = static_cast<int>(*top_k);
  const absl::StatusOr<double> top_p = file.GetFloat("general.sampling.top_p");
  if (top_p.ok() && *top_p > 0 && *top_p <= 1) defaults.top_p = static_cast<float>(*top_p);
  return defaults;
}

absl::StatusOr<GenerationDefaults> ReadGenerationConfig(const JsonValue& config,
                                                        absl::string_view path) {
  if (!config.is_object()) {
    return absl::DataLossError(absl::StrCat(path, ": ", config.TypeName(), ", not an object"));
  }
  ConfigReader reader(config, path);
  GenerationDefaults defaults;
  RETURN_IF_ERROR(ReadSampling(reader, defaults));
  if (const JsonValue* eos = reader.Find("eos_token_id")) {
    ASSIGN_OR_RETURN(defaults.eos_token_ids, ReadTokenIds(*eos, path, "eos_token_id"));
  }
  for (const JsonMember& member : config.members()) {
    if (!reader.WasAsked(member.key) && !IsNeutral(member)) {
      defaults.ignored.push_back(
          absl::StrCat(absl::CHexEscape(member.key.substr(0, 80)), ": ", member.value.Describe()));
    }
  }
  return defaults;
}

}  // namespace phalanx
