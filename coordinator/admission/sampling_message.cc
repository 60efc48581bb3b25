#include "coordinator/admission/sampling_message.h"

#include "base/message_fields.h"

namespace phalanx {

Sampling ReadSampling(const v1::Sampling& message, const Sampling& defaults) {
  Sampling sampling = defaults;
  VisitSampling(sampling, [&](const SamplingParameter& parameter, auto& value) {
    GetField(message, parameter.name, &value);
  });
  return sampling;
}

void WriteSampling(const Sampling& sampling, v1::Sampling* message) {
  VisitSampling(sampling, [&](const SamplingParameter& parameter, auto value) {
    SetField(parameter.name, value, message);
  });
}

}  // namespace phalanx
