// Sampling parameters in the messages of the public API.
#ifndef PHALANX_COORDINATOR_ADMISSION_SAMPLING_MESSAGE_H_
#define PHALANX_COORDINATOR_ADMISSION_SAMPLING_MESSAGE_H_

#include "model/generation/sampling.h"
#include "phalanx/v1/inference.pb.h"

namespace phalanx {

// The parameters that the message sets, and those of `defaults` for the others. Nothing is checked.
Sampling ReadSampling(const v1::Sampling& message, const Sampling& defaults);

// Sets every parameter. The seed is not one of them.
void WriteSampling(const Sampling& sampling, v1::Sampling* message);

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_ADMISSION_SAMPLING_MESSAGE_H_
