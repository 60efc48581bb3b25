// Matrices for tests of the CUDA backend with activations in bfloat16.
#ifndef PHALANX_KERNELS_CUDA_TESTING_BFLOAT16_MATRIX_H_
#define PHALANX_KERNELS_CUDA_TESTING_BFLOAT16_MATRIX_H_

#include <cstdint>
#include <random>

#include "kernels/bfloat16.h"
#include "kernels/dequantize.h"
#include "kernels/ops.h"
#include "kernels/testing/aligned_vector.h"

namespace phalanx::kernels {

class BFloat16Matrix {
 public:
  BFloat16Matrix(int64_t rows, int64_t cols, uint32_t seed = 0) : rows_(rows), cols_(cols) {
    values_.resize(rows * cols);
    if (seed == 0) return;
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    for (uint16_t& value : values_) value = FloatToBFloat16(normal(random));
  }

  Tensor tensor() { return {values_.data(), DType::kBF16, rows_, cols_}; }
  Tensor FirstRows(int64_t rows) { return {values_.data(), DType::kBF16, rows, cols_}; }
  float at(int64_t row, int64_t col) const { return BFloat16ToFloat(values_[row * cols_ + col]); }
  const AlignedVector<uint16_t>& bits() const { return values_; }
  AlignedVector<uint16_t>& bits() { return values_; }

 private:
  const int64_t rows_;
  const int64_t cols_;
  AlignedVector<uint16_t> values_;
};

class FloatMatrix {
 public:
  FloatMatrix(int64_t rows, int64_t cols, float value) : rows_(rows), cols_(cols) {
    values_.assign(rows * cols, value);
  }
  Tensor tensor() { return {values_.data(), DType::kF32, rows_, cols_}; }
  float at(int64_t row, int64_t col) const { return values_[row * cols_ + col]; }
  AlignedVector<float>& values() { return values_; }

 private:
  const int64_t rows_;
  const int64_t cols_;
  AlignedVector<float> values_;
};

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_CUDA_TESTING_BFLOAT16_MATRIX_H_
