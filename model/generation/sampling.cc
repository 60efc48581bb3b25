#include "model/generation/sampling.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "base/number_text.h"

namespace phalanx {
namespace {

// False for NaN: all its comparisons are false.
bool IsInRange(const SamplingParameter& parameter, double number) {
  const bool is_enough =
      parameter.allows_least ? number >= parameter.least : number > parameter.least;
  return is_enough && number <= parameter.most;
}

}  // namespace

absl::Status CheckSampling(const Sampling& sampling, absl::string_view prefix) {
  absl::Status status;
  VisitSampling(sampling, [&](const SamplingParameter& parameter, auto value) {
    if (IsInRange(parameter, value)) return;
    // Update keeps the first error.
    status.Update(absl::InvalidArgumentError(
        absl::StrCat(prefix, parameter.name, ": ", Readable(value), " is not in ",
                     parameter.allows_least ? "[" : "(", NumberText(parameter.least), ", ",
                     NumberText(parameter.most), "]")));
  });
  return status;
}

bool SetIfAllowed(const SamplingParameter& parameter, double number, float* value) {
  // Checked as a float too, because a tiny number may become 0.
  if (!IsInRange(parameter, number) || !IsInRange(parameter, static_cast<float>(number))) {
    return false;
  }
  *value = static_cast<float>(number);
  return true;
}

bool SetIfAllowed(const SamplingParameter& parameter, double number, int32_t* value) {
  if (!IsInRange(parameter, number) || number != std::floor(number)) return false;
  *value = static_cast<int32_t>(number);
  return true;
}

}  // namespace phalanx
