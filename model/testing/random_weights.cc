#include "model/testing/random_weights.h"

#include <cmath>

namespace phalanx {

float RandomWeights::Normal() {
  float sum = -2.0f;
  for (int i = 0; i < 4; ++i) sum += Uniform();
  return sum * std::sqrt(3.0f);
}

}  // namespace phalanx
