#include "model/spec/rope_scaling.h"

#include <cmath>
#include <numbers>

namespace phalanx {

std::vector<float> Llama3Factors(const Llama3Scaling& scaling, double theta, int rotary_dim) {
  const double original = scaling.original_context_tokens;
  const double longest = original / scaling.low_freq_factor;
  const double shortest = original / scaling.high_freq_factor;
  std::vector<float> factors;
  for (int j = 0; j < rotary_dim / 2; ++j) {
    // The number of tokens after which the pair has turned once.
    const double wavelength = 2 * std::numbers::pi * std::pow(theta, 2.0 * j / rotary_dim);
    double factor = 1.0;
    if (wavelength > longest) {
      factor = scaling.factor;
    } else if (wavelength >= shortest) {
      const double smooth = (original / wavelength - scaling.low_freq_factor) /
                            (scaling.high_freq_factor - scaling.low_freq_factor);
      factor = 1.0 / ((1 - smooth) / scaling.factor + smooth);
    }
    factors.push_back(static_cast<float>(factor));
  }
  return factors;
}

std::vector<float> LinearFactors(double factor, int rotary_dim) {
  if (factor == 1.0) return {};
  return std::vector<float>(rotary_dim / 2, static_cast<float>(factor));
}

float LongRopeAttentionFactor(double factor, int original_context_tokens) {
  if (factor <= 1.0) return 1.0f;
  return static_cast<float>(std::sqrt(1 + std::log(factor) / std::log(original_context_tokens)));
}

}  // namespace phalanx
