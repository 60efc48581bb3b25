#include "model/generation_defaults.h"

#include <cstdint>

#include "absl/status/statusor.h"

namespace phalanx {
namespace {

constexpr double kMaxTemperature = 100.0;
constexpr int64_t kMaxTopK = 1 << 20;

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

}  // namespace phalanx
