#include "model/generation/generation_defaults.h"

#include <cmath>
#include <limits>
#include <optional>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "base/number_text.h"
#include "base/status.h"
#include "model/files/config_reader.h"
#include "model/generation/generation_keys.h"

namespace phalanx {
namespace {

constexpr absl::string_view kGgufPrefix = "general.sampling.";
// The max_length that transformers uses where nobody says more, and wrote into old files: it is no
// advice.
constexpr int kNoMaxLength = 20;
// How many keys one message names.
constexpr size_t kMaxNamedKeys = 20;

std::string PrintableKey(absl::string_view key) { return absl::CHexEscape(key.substr(0, 80)); }

bool IsInteger(double value) { return value == std::floor(value); }

// Puts values of known keys into `defaults` if they are in range. Others are advice that is not
// followed.
class FollowedKeys {
 public:
  FollowedKeys(absl::string_view prefix, GenerationDefaults* defaults)
      : prefix_(prefix), defaults_(*defaults) {}

  // `target` is the value of `parameter` in the defaults.
  template <typename T>
  void Parameter(absl::string_view key, const SamplingParameter& parameter,
                 std::optional<double> value, T* target) {
    if (value && !SetIfAllowed(parameter, *value, target)) NotFollowed(key, *value);
  }
  void Tokens(absl::string_view key, std::optional<double> value, int* tokens) {
    if (!value) return;
    if (*value >= 1 && *value <= std::numeric_limits<int32_t>::max() && IsInteger(*value)) {
      *tokens = static_cast<int>(*value);
    } else {
      NotFollowed(key, *value);
    }
  }

 private:
  void NotFollowed(absl::string_view key, double value) {
    defaults_.unfollowed.push_back({absl::StrCat(prefix_, key), NumberText(value)});
  }

  const absl::string_view prefix_;
  GenerationDefaults& defaults_;
};

// Whether a value is null or empty, which means nothing for any key.
bool IsNothing(const JsonValue& value) {
  return value.is_null() || (value.is_array() && value.elements().empty()) ||
         (value.is_object() && value.members().empty());
}

bool IsNeutral(const JsonMember& member, GenerationKeyKind kind) {
  if (member.value.is_null() || kind == GenerationKeyKind::kHarmless) return true;
  if (kind == GenerationKeyKind::kUnknown) return false;
  if (IsNothing(member.value) || member.value.AsBool() == false) return true;
  const std::optional<double> number = member.value.AsNumber();
  return number && IsNeutralValue(member.key, *number);
}

absl::Status ReadFollowed(ConfigReader& reader, GenerationDefaults& defaults) {
  ASSIGN_OR_RETURN(const bool do_sample, reader.BoolOr("do_sample", false));
  FollowedKeys keys("", &defaults);
  if (do_sample) {
    // transformers' defaults for sampling.
    defaults.sampling.temperature = 1.0f;
    defaults.sampling.top_k = 50;
  }
  absl::Status status;
  VisitSampling(defaults.sampling, [&](const SamplingParameter& parameter, auto& value) {
    const absl::StatusOr<std::optional<double>> number = reader.OptionalNumber(parameter.name);
    status.Update(number.status());
    // Without do_sample transformers takes the likeliest token, whatever the temperature.
    if (!number.ok() || (parameter.name == kTemperature.name && !do_sample)) return;
    keys.Parameter(parameter.name, parameter, *number, &value);
  });
  RETURN_IF_ERROR(status);
  ASSIGN_OR_RETURN(const std::optional<double> max_new, reader.OptionalNumber("max_new_tokens"));
  ASSIGN_OR_RETURN(const std::optional<double> max_length, reader.OptionalNumber("max_length"));
  keys.Tokens("max_new_tokens", max_new, &defaults.max_new_tokens);
  if (max_length != kNoMaxLength) keys.Tokens("max_length", max_length, &defaults.max_length);
  return absl::OkStatus();
}

absl::StatusOr<GenerationDefaults> ReadJson(const JsonValue& config, absl::string_view path,
                                            bool others_are_of_the_network) {
  if (!config.is_object()) {
    return absl::DataLossError(absl::StrCat(path, ": ", config.TypeName(), ", not an object"));
  }
  ConfigReader reader(config, path);
  GenerationDefaults defaults;
  defaults.source = std::string(path);
  RETURN_IF_ERROR(ReadFollowed(reader, defaults));
  if (const JsonValue* eos = reader.Find("eos_token_id")) {
    ASSIGN_OR_RETURN(defaults.eos_token_ids, ReadTokenIds(*eos, path, "eos_token_id"));
  }
  for (const JsonMember& member : config.members()) {
    const GenerationKeyKind kind = GenerationConfigKeyKind(member.key);
    if (reader.WasAsked(member.key) || IsNeutral(member, kind)) continue;
    if (kind == GenerationKeyKind::kUnknown && others_are_of_the_network) continue;
    defaults.unfollowed.push_back({PrintableKey(member.key), member.value.Describe()});
  }
  return defaults;
}

std::optional<double> NumberOf(const GgufFile& file, absl::string_view key) {
  if (const absl::StatusOr<double> value = file.GetFloat(key); value.ok()) return *value;
  const absl::StatusOr<int64_t> value = file.GetInt(key);
  return value.ok() ? std::optional<double>(static_cast<double>(*value)) : std::nullopt;
}

}  // namespace

GenerationDefaults ReadGenerationDefaults(const GgufFile& file) {
  GenerationDefaults defaults;
  defaults.source = file.path();
  FollowedKeys keys(kGgufPrefix, &defaults);
  for (const absl::string_view key : file.Keys()) {
    absl::string_view name = key;
    if (!absl::ConsumePrefix(&name, kGgufPrefix)) continue;
    const GenerationKeyKind kind = GgufSamplingKeyKind(name);
    if (kind == GenerationKeyKind::kHarmless) continue;
    const std::optional<double> value = NumberOf(file, key);
    if (!value) {
      defaults.unfollowed.push_back({PrintableKey(key), "not a number"});
    } else if (kind == GenerationKeyKind::kFollowed) {
      VisitSampling(defaults.sampling, [&](const SamplingParameter& parameter, auto& target) {
        if (name == parameter.gguf_name) keys.Parameter(name, parameter, value, &target);
      });
    } else if (kind == GenerationKeyKind::kUnknown || !IsNeutralValue(name, *value)) {
      defaults.unfollowed.push_back({PrintableKey(key), NumberText(*value)});
    }
  }
  return defaults;
}

absl::StatusOr<GenerationDefaults> ReadGenerationConfig(const JsonValue& config,
                                                        absl::string_view path) {
  return ReadJson(config, path, /*others_are_of_the_network=*/false);
}

absl::StatusOr<GenerationDefaults> ReadGenerationKeysOfConfig(const JsonValue& config,
                                                              absl::string_view path) {
  return ReadJson(config, path, /*others_are_of_the_network=*/true);
}

absl::Status CheckUnfollowed(const GenerationDefaults& defaults,
                             absl::Span<const std::string> accepted_keys) {
  std::vector<std::string> refused;
  std::vector<std::string> keys;
  for (const UnfollowedDefault& unfollowed : defaults.unfollowed) {
    if (absl::c_linear_search(accepted_keys, unfollowed.key)) continue;
    refused.push_back(absl::StrCat(unfollowed.key, ": ", unfollowed.value));
    keys.push_back(unfollowed.key);
  }
  if (refused.empty()) return absl::OkStatus();
  if (refused.size() > kMaxNamedKeys) {
    refused[kMaxNamedKeys] = absl::StrCat("and ", refused.size() - kMaxNamedKeys, " more");
    keys[kMaxNamedKeys] = "...";
    refused.resize(kMaxNamedKeys + 1);
    keys.resize(kMaxNamedKeys + 1);
  }
  return absl::UnimplementedError(absl::StrCat(
      defaults.source, ": ", absl::StrJoin(refused, ", "),
      ": not supported, and may change answers; coordinator --ignore_generation_config ",
      absl::StrJoin(keys, ","), " serves the model without"));
}

}  // namespace phalanx
