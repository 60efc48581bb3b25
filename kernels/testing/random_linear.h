// Weights of every type for tests and benchmarks.
#ifndef PHALANX_KERNELS_TESTING_RANDOM_LINEAR_H_
#define PHALANX_KERNELS_TESTING_RANDOM_LINEAR_H_

#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include "kernels/ops.h"

namespace phalanx::kernels {

// A matrix as it lies in a model file, of weights of either sign and below about 1 in size.
class RandomLinear {
 public:
  RandomLinear(DType dtype, int64_t in_features, int64_t out_features, int seed);

  // Valid while this object lives and stays where it is.
  LinearSource source() const;

  DType dtype() const { return dtype_; }

  // One output's weights in float32.
  std::vector<float> Row(int64_t output) const;

 private:
  const DType dtype_;
  const int64_t in_features_;
  std::vector<std::byte> bytes_;
  std::vector<const std::byte*> rows_;
};

// Values of either sign, normally distributed.
std::vector<float> RandomFloats(size_t n, int seed);

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_TESTING_RANDOM_LINEAR_H_
