// What a model's makers advise for sampling.
#ifndef PHALANX_MODEL_GENERATION_DEFAULTS_H_
#define PHALANX_MODEL_GENERATION_DEFAULTS_H_

#include "model/gguf.h"

namespace phalanx {

// Ranges as in phalanx/v1/inference.proto.
struct GenerationDefaults {
  float temperature = 0.0f;
  int top_k = 0;
  float top_p = 1.0f;
};

// From the general.sampling.{temp,top_k,top_p} keys where the file has them (and they are in
// range), else greedy.
GenerationDefaults ReadGenerationDefaults(const GgufFile& file);

}  // namespace phalanx

#endif  // PHALANX_MODEL_GENERATION_DEFAULTS_H_
