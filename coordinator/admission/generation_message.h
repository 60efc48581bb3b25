// What a request asks of its answer, in the messages of the public API.
#ifndef PHALANX_COORDINATOR_ADMISSION_GENERATION_MESSAGE_H_
#define PHALANX_COORDINATOR_ADMISSION_GENERATION_MESSAGE_H_

#include "model/generation/generation_options.h"
#include "model/generation/sampling.h"
#include "phalanx/v1/inference.pb.h"

namespace phalanx {

// The parameters that the message sets, and those of `defaults` for the others. Nothing is checked.
Sampling ReadSampling(const v1::Sampling& message, const Sampling& defaults);

// Sets every parameter. The seed is not one of them.
void WriteSampling(const Sampling& sampling, v1::Sampling* message);

// What the request sets beside sampling parameters, with the defaults of inference.proto; the
// biases sorted by token. Nothing is checked.
GenerationOptions ReadGenerationOptions(const v1::GenerateRequest& request);

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_ADMISSION_GENERATION_MESSAGE_H_
