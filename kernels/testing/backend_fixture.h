// What the tests of all backends share. For backends that compute on the host.
#ifndef PHALANX_KERNELS_TESTING_BACKEND_FIXTURE_H_
#define PHALANX_KERNELS_TESTING_BACKEND_FIXTURE_H_

#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/ops.h"
#include "kernels/testing/random_linear.h"

namespace phalanx::kernels {

// Half the distance from 1 to the next float: the error of one rounding, relative to the result.
inline constexpr double kRounding = 0x1p-24;

// Bound on the relative error of n roundings in a row. Source: Higham 2002, "Accuracy and Stability
// of Numerical Algorithms", lemma 3.1.
constexpr double Roundings(double n) { return n * kRounding / (1 - n * kRounding); }

// A row-major matrix of floats that owns its memory.
class Matrix {
 public:
  Matrix(int64_t rows, int64_t cols) : rows_(rows), cols_(cols), values_(rows * cols) {}
  Matrix(int64_t rows, int64_t cols, int seed)
      : rows_(rows), cols_(cols), values_(RandomFloats(rows * cols, seed)) {}

  Tensor tensor() { return {values_.data(), DType::kF32, rows_, cols_}; }
  std::vector<float>& values() { return values_; }
  const std::vector<float>& values() const { return values_; }
  const float* row(int64_t i) const { return values_.data() + i * cols_; }
  std::vector<float> Row(int64_t i) const { return {row(i), row(i) + cols_}; }
  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }

 private:
  const int64_t rows_;
  const int64_t cols_;
  std::vector<float> values_;
};

inline std::unique_ptr<PackedLinear> Pack(Backend& backend, const RandomLinear& linear) {
  return *backend.PackLinear({linear.source()});
}

inline std::string InstructionsName(CpuInstructions instructions) {
  return instructions == CpuInstructions::kAvx2 ? "Avx2" : "Portable";
}

// Runs a test on the CPU backend with the given options; skips it where the machine cannot.
class CpuBackendTest : public testing::TestWithParam<CpuOptions> {
 protected:
  void SetUp() override {
    auto backend = MakeCpuBackend(GetParam());
    if (!backend.ok()) GTEST_SKIP() << backend.status();
    backend_ = *std::move(backend);
    stream_ = backend_->NewStream();
  }

  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Stream> stream_;
};

inline auto AllCpuOptions() {
  return testing::Values(
      CpuOptions{1, CpuInstructions::kPortable}, CpuOptions{2, CpuInstructions::kPortable},
      CpuOptions{1, CpuInstructions::kAvx2}, CpuOptions{2, CpuInstructions::kAvx2});
}

inline std::string CpuOptionsName(const testing::TestParamInfo<CpuOptions>& info) {
  return InstructionsName(info.param.instructions) + std::to_string(info.param.num_threads) +
         (info.param.num_threads == 1 ? "Thread" : "Threads");
}

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_TESTING_BACKEND_FIXTURE_H_
