// config.json or generation_config.json, whatever the input can be read as.

#include <cstddef>
#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/files/json.h"
#include "model/generation/generation_defaults.h"
#include "model/spec/hf_config.h"
#include "tests/fuzz/properties.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr absl::string_view kPath = "folder/config.json";
  const absl::string_view text(reinterpret_cast<const char*>(data), size);
  const absl::StatusOr<phalanx::JsonValue> json = phalanx::ParseJson(text, kPath);
  phalanx::CheckError(json.status(), kPath);
  if (!json.ok()) return 0;
  const auto config = phalanx::ReadHfConfig(*json, kPath, "fuzz");
  phalanx::CheckError(config.status(), kPath);
  if (config.ok()) phalanx::CheckSpec(config->spec);
  phalanx::CheckError(phalanx::ReadGenerationKeysOfConfig(*json, kPath).status(), kPath);
  const auto defaults = phalanx::ReadGenerationConfig(*json, kPath);
  phalanx::CheckError(defaults.status(), kPath);
  if (defaults.ok()) phalanx::CheckError(phalanx::CheckUnfollowed(*defaults, {}), kPath);
  return 0;
}
