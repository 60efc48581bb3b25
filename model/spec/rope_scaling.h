// Computes the scalings of rotary positions as lists of factors (see RopeSpec).
#ifndef PHALANX_MODEL_SPEC_ROPE_SCALING_H_
#define PHALANX_MODEL_SPEC_ROPE_SCALING_H_

#include <vector>

namespace phalanx {

// Llama 3.1's scaling: pairs that turn slowly are slowed by `factor`, fast ones are left alone, and
// those between are interpolated. Source: transformers, modeling_rope_utils.py,
// _compute_llama3_parameters.
struct Llama3Scaling {
  double factor = 8.0;
  double low_freq_factor = 1.0;
  double high_freq_factor = 4.0;  // Greater than low_freq_factor.
  int original_context_tokens = 8192;
};
std::vector<float> Llama3Factors(const Llama3Scaling& scaling, double theta, int rotary_dim);

// Slows every pair by `factor`. An empty list if that is 1.
std::vector<float> LinearFactors(double factor, int rotary_dim);

// What LongRoPE multiplies cosines and sines by, unless the model says otherwise: sqrt(1 +
// ln(factor) / ln(original)), and 1 for a factor of at most 1. `factor` is how many times longer
// the context became. Source: transformers, modeling_rope_utils.py, _compute_longrope_parameters.
float LongRopeAttentionFactor(double factor, int original_context_tokens);

}  // namespace phalanx

#endif  // PHALANX_MODEL_SPEC_ROPE_SCALING_H_
