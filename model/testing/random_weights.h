// Reproducible random numbers for weights of test models.
#ifndef PHALANX_MODEL_TESTING_RANDOM_WEIGHTS_H_
#define PHALANX_MODEL_TESTING_RANDOM_WEIGHTS_H_

#include <cstdint>
#include <random>

namespace phalanx {

// Made by hand from std::mt19937: the distributions of the standard library differ between
// implementations.
class RandomWeights {
 public:
  explicit RandomWeights(uint32_t seed) : random_(seed) {}

  uint32_t Bits() { return static_cast<uint32_t>(random_()); }
  // In [0, 1).
  float Uniform() { return static_cast<float>(Bits() >> 8) * 0x1p-24f; }
  // About normal, of mean 0 and variance 1: the sum of four uniform numbers.
  float Normal();

 private:
  std::mt19937 random_;
};

}  // namespace phalanx

#endif  // PHALANX_MODEL_TESTING_RANDOM_WEIGHTS_H_
