// Products of 8-bit integers: against the arithmetic of int8_layout.h to the bit, and against the
// reference within what rounding the inputs may change.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/cpu_facts.h"
#include "kernels/cpu/cpu_level.h"
#include "kernels/cpu/kernel_set.h"
#include "kernels/cpu/stand_in_kernels.h"
#include "kernels/dequantize.h"
#include "kernels/ops.h"
#include "kernels/quant_block.h"
#include "kernels/testing/matrix.h"
#include "kernels/testing/random_linear.h"

namespace phalanx::kernels {
namespace {

std::vector<DType> QuantizedTypes() {
  std::vector<DType> types;
  for (const DType dtype : kAllDTypes) {
    if (IsQuantized(dtype)) types.push_back(dtype);
  }
  return types;
}

// One block of inputs, quantized as int8_layout.h says.
struct Block {
  float scale = 0.0f;
  std::vector<int32_t> levels;
};
Block Quantize(const float* x) {
  float maximum = 0.0f;
  for (int k = 0; k < 32; ++k) maximum = std::max(maximum, std::abs(x[k]));
  if (maximum < 0x1p-100f) return {0.0f, std::vector<int32_t>(32)};
  Block block = {maximum / 127.0f, {}};
  const float factor = 127.0f / maximum;
  for (int k = 0; k < 32; ++k) {
    block.levels.push_back(static_cast<int32_t>(std::nearbyint(x[k] * factor)));
  }
  return block;
}

// The product of a row of weights, as it lies in a file, and a row of inputs.
float ExactProduct(DType dtype, const std::byte* weights, const float* x, int64_t in_features) {
  const int sub_block = SubBlockElements(dtype);
  float output = 0.0f;
  for (int64_t at = 0; at < in_features; at += BlockElements(dtype)) {
    const QuantBlock w = ReadQuantBlock(dtype, weights + RowBytes(dtype, at));
    for (int first = 0; first < BlockElements(dtype); first += sub_block) {
      const int s = first / sub_block;
      const Block block = Quantize(x + at + first / 32 * 32);
      int32_t dot = 0;
      int32_t sum = 0;
      for (int k = first; k < first + sub_block; ++k) {
        dot += QuantLevel(dtype, w.codes[k]) * block.levels[k % 32];
        sum += block.levels[k % 32];
      }
      const float d = HalfToFloat(w.d) * static_cast<float>(w.scales[s]);
      output = std::fma(static_cast<float>(dot), d * block.scale, output);
      if (HasMinimum(dtype)) {
        const float m = HalfToFloat(w.m) * static_cast<float>(w.minimums[s]);
        output = std::fma(m, block.scale * static_cast<float>(sum), output);
      }
    }
  }
  return output;
}

// A level, or the code of a level that this machine lacks with other instructions.
struct Instructions {
  const char* name;
  CpuLevel level;
  const KernelSet* (*stand_ins)() = nullptr;  // In place of the kernels of the level.
};
void PrintTo(const Instructions& instructions, std::ostream* to) { *to << instructions.name; }

constexpr Instructions kAllInstructions[] = {
    {"portable", CpuLevel::kPortable},
    {"avx2", CpuLevel::kAvx2},
    {"avx2_vnni", CpuLevel::kAvx2Vnni},
    {"avx2_vnni_by_avx2", CpuLevel::kAvx2, WidenedVnniKernels},
    {"avx2_vnni_in_avx512_encoding", CpuLevel::kAvx512Vnni, EvexVnniKernels},
    {"avx512_vnni", CpuLevel::kAvx512Vnni},
    {"amx", CpuLevel::kAmx},
    {"amx_with_emulated_tiles", CpuLevel::kAvx512Vnni, EmulatedAmxKernels}};

// FAILED_PRECONDITION or INVALID_ARGUMENT, naming what is missing, if this machine cannot.
absl::StatusOr<std::unique_ptr<Backend>> MakeBackend(const Instructions& instructions,
                                                     int num_threads) {
  const CpuOptions options = {
      .num_threads = num_threads, .level = instructions.level, .products = CpuProducts::kInt8};
  if (instructions.stand_ins == nullptr) return MakeCpuBackend(options);
  if (absl::Status status = CheckCpuLevel(instructions.level, ReadCpuFacts()); !status.ok()) {
    return status;
  }
  return MakeCpuBackend(options, *instructions.stand_ins());
}

using Parameters = std::tuple<Instructions, DType>;

class Int8LinearTest : public testing::TestWithParam<Parameters> {
 protected:
  void SetUp() override {
    auto backend = MakeBackend(std::get<0>(GetParam()), 2);
    if (!backend.ok()) GTEST_SKIP() << backend.status().message();
    backend_ = *std::move(backend);
    stream_ = backend_->NewStream();
    ASSERT_TRUE(backend_->Reserve({.max_tokens = 64, .hidden = 1024}).ok());
  }

  DType dtype() const { return std::get<1>(GetParam()); }
  int64_t WholeBlocks(int64_t inputs) const {
    const int64_t block = BlockElements(dtype());
    return (inputs + block - 1) / block * block;
  }

  Matrix Multiply(const RandomLinear& linear, Matrix& x, Matrix* bias = nullptr) {
    const auto packed = *backend_->PackLinear({linear.source()});
    Matrix out(x.rows(), packed->out_features());
    backend_->Linear(*stream_, x.tensor(), *packed, bias == nullptr ? Tensor{} : bias->tensor(),
                     out.tensor());
    return out;
  }

  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Stream> stream_;
};

TEST_P(Int8LinearTest, HasTheBitsOfTheArithmetic) {
  // Portable kernels may round products and sums apart.
  if (std::get<0>(GetParam()).level == CpuLevel::kPortable) GTEST_SKIP() << "portable";
  for (const int64_t inputs : {32, 544}) {
    const int64_t in_features = WholeBlocks(inputs);
    for (const int64_t outputs : {1, 16, 37, 131}) {
      const RandomLinear linear(dtype(), in_features, outputs, 1);
      for (const int64_t rows : {1, 2, 3, 4, 5, 6, 7, 8, 9, 31, 49}) {
        Matrix x(rows, in_features, 2);
        const Matrix out = Multiply(linear, x);
        for (int64_t i = 0; i < rows; ++i) {
          for (int64_t o = 0; o < outputs; ++o) {
            ASSERT_EQ(out.row(i)[o],
                      ExactProduct(dtype(), linear.source().rows[o], x.row(i), in_features))
                << "row " << i << " of " << rows << ", output " << o << " of " << outputs;
          }
        }
      }
    }
  }
}

// Kernels that decode weights for many rows do so for some inputs at a time.
TEST_P(Int8LinearTest, LongRowsHaveTheBitsOfTheArithmetic) {
  if (std::get<0>(GetParam()).level == CpuLevel::kPortable) GTEST_SKIP() << "portable";
  ASSERT_TRUE(backend_->Reserve({.max_tokens = 64, .hidden = 2304}).ok());
  const int64_t in_features = WholeBlocks(2080);
  const RandomLinear linear(dtype(), in_features, 21, 14);
  Matrix bias(1, 21, 15);
  for (const int64_t rows : {15, 32, 35}) {
    Matrix x(rows, in_features, 16);
    const Matrix out = Multiply(linear, x, &bias);
    for (const int64_t i : {int64_t{0}, rows - 1}) {
      for (int64_t o = 0; o < 21; ++o) {
        const float product = ExactProduct(dtype(), linear.source().rows[o], x.row(i), in_features);
        ASSERT_EQ(out.row(i)[o], product + bias.row(0)[o])
            << "row " << i << " of " << rows << ", output " << o;
      }
    }
  }
}

// As many rows as are multiplied in one go, whole steps of rows after these, and rest.
TEST_P(Int8LinearTest, ManyRowsHaveTheBitsOfTheirRowsAlone) {
  const int64_t in_features = WholeBlocks(96);
  const RandomLinear linear(dtype(), in_features, 53, 11);
  ASSERT_TRUE(backend_->Reserve({.max_tokens = 240, .hidden = 1024}).ok());
  Matrix x(229, in_features, 12);
  Matrix bias(1, 53, 13);
  const Matrix out = Multiply(linear, x, &bias);
  for (int64_t i = 0; i < x.rows(); ++i) {
    Matrix row = x.Rows(i, 1);
    ASSERT_EQ(out.Row(i), Multiply(linear, row, &bias).Row(0)) << i;
  }
}

// An input differs from its level by at most half a scale, and a bit of rounding of the quotient;
// a sum of n products by at most n roundings of itself.
TEST_P(Int8LinearTest, IsNearTheProductInFloat32) {
  const int64_t in_features = WholeBlocks(544);
  const RandomLinear linear(dtype(), in_features, 37, 3);
  Matrix bias(1, 37, 4);
  Matrix x(9, in_features, 5);
  const Matrix out = Multiply(linear, x, &bias);
  for (int64_t i = 0; i < x.rows(); ++i) {
    for (int64_t o = 0; o < 37; ++o) {
      const std::vector<float> w = linear.Row(o);
      double expected = bias.row(0)[o];
      double bound = 0;
      for (int64_t first = 0; first < in_features; first += 32) {
        double maximum = 0;
        for (int64_t k = first; k < first + 32; ++k) {
          expected += double{w[k]} * x.row(i)[k];
          maximum = std::max(maximum, std::abs(double{x.row(i)[k]}));
        }
        for (int64_t k = first; k < first + 32; ++k) {
          // Of the types with a minimum a weight is the sum of two larger numbers; 64 is well above
          // what these have in a random matrix.
          bound += std::abs(w[k]) * maximum / 127 * 0.5001 +
                   64 * 0x1p-24 * static_cast<double>(in_features) / 16 * maximum;
        }
      }
      ASSERT_NEAR(out.row(i)[o], expected, bound);
    }
  }
}

TEST_P(Int8LinearTest, ARowIsTheSameBitsInAnyBatchAndOnAnyThreads) {
  const int64_t in_features = WholeBlocks(576);
  const RandomLinear linear(dtype(), in_features, 150, 6);
  Matrix all(40, in_features, 7);
  const Matrix expected = Multiply(linear, all);
  for (const int threads : {1, 2, 3}) {
    backend_ = *MakeBackend(std::get<0>(GetParam()), threads);
    ASSERT_TRUE(backend_->Reserve({.max_tokens = 64, .hidden = 1024}).ok());
    for (const int64_t first : {0, 3, 33}) {
      for (const int64_t rows : {1, 5, 7}) {
        Matrix x = all.Rows(first, rows);
        const Matrix out = Multiply(linear, x);
        for (int64_t i = 0; i < rows; ++i) EXPECT_EQ(out.Row(i), expected.Row(first + i));
      }
    }
  }
}

TEST_P(Int8LinearTest, InputsThatAreNoNumbersMakeTheirRowNaNAndNoOther) {
  const int64_t in_features = WholeBlocks(64);
  const RandomLinear linear(dtype(), in_features, 20, 8);
  Matrix x(4, in_features, 9);
  const std::vector<float> expected = Multiply(linear, x).Row(2);
  x.values()[0 * in_features + 33] = std::numeric_limits<float>::infinity();
  x.values()[1 * in_features + 7] = std::numeric_limits<float>::quiet_NaN();
  x.values()[3 * in_features + 63] = -std::numeric_limits<float>::infinity();
  const Matrix out = Multiply(linear, x);
  for (const int64_t i : {0, 1, 3}) {
    for (const float value : out.Row(i)) EXPECT_TRUE(std::isnan(value));
  }
  EXPECT_EQ(out.Row(2), expected);
}

TEST_P(Int8LinearTest, TinyAndZeroInputsGiveZero) {
  const int64_t in_features = WholeBlocks(32);
  const RandomLinear linear(dtype(), in_features, 20, 10);
  Matrix x(3, in_features);
  std::fill_n(x.values().begin() + in_features, in_features, 1e-40f);  // Subnormal.
  std::fill_n(x.values().begin() + 2 * in_features, in_features, 1e30f);
  const Matrix out = Multiply(linear, x);
  for (const int64_t i : {0, 1}) EXPECT_EQ(out.Row(i), std::vector<float>(20, 0.0f));
  for (const float value : out.Row(2)) EXPECT_FALSE(std::isnan(value));
}

INSTANTIATE_TEST_SUITE_P(AllLevels, Int8LinearTest,
                         testing::Combine(testing::ValuesIn(kAllInstructions),
                                          testing::ValuesIn(QuantizedTypes())),
                         [](const testing::TestParamInfo<Parameters>& info) {
                           return std::string(std::get<0>(info.param).name) + "_" +
                                  DTypeName(std::get<1>(info.param));
                         });

}  // namespace
}  // namespace phalanx::kernels
