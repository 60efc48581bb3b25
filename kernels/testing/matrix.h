// A matrix for tests.
#ifndef PHALANX_KERNELS_TESTING_MATRIX_H_
#define PHALANX_KERNELS_TESTING_MATRIX_H_

#include <algorithm>
#include <cstdint>
#include <vector>

#include "kernels/ops.h"
#include "kernels/testing/aligned_vector.h"
#include "kernels/testing/random_linear.h"

namespace phalanx::kernels {

// A row-major matrix of floats that owns its memory, aligned as a tensor's.
class Matrix {
 public:
  // Zeros.
  Matrix(int64_t rows, int64_t cols) : rows_(rows), cols_(cols), values_(rows * cols) {}
  // Random values of either sign.
  Matrix(int64_t rows, int64_t cols, int seed) : Matrix(rows, cols) {
    const std::vector<float> random = RandomFloats(values_.size(), seed);
    std::copy(random.begin(), random.end(), values_.begin());
  }

  Tensor tensor() { return {values_.data(), DType::kF32, rows_, cols_}; }
  AlignedVector<float>& values() { return values_; }
  const AlignedVector<float>& values() const { return values_; }
  const float* row(int64_t i) const { return values_.data() + i * cols_; }
  std::vector<float> Row(int64_t i) const { return {row(i), row(i) + cols_}; }
  // Rows [first, first + count) as a matrix of their own.
  Matrix Rows(int64_t first, int64_t count) const {
    Matrix rows(count, cols_);
    std::copy_n(row(first), count * cols_, rows.values_.begin());
    return rows;
  }
  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }

 private:
  const int64_t rows_;
  const int64_t cols_;
  AlignedVector<float> values_;
};

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_TESTING_MATRIX_H_
