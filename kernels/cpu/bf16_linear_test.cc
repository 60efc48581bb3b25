// Products of bfloat16: against the arithmetic of bf16_layout.h to the bit, and against float32
// within what rounding to bfloat16 may change.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "absl/status/status.h"
#include "gtest/gtest.h"
#include "kernels/bfloat16.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/cpu_facts.h"
#include "kernels/cpu/cpu_level.h"
#include "kernels/cpu/kernel_set.h"
#include "kernels/cpu/stand_in_kernels.h"
#include "kernels/dequantize.h"
#include "kernels/ops.h"
#include "kernels/testing/matrix.h"
#include "kernels/testing/random_linear.h"

namespace phalanx::kernels {
namespace {

// The smallest normal number of float32 and of bfloat16.
constexpr float kLeastNormal = 0x1p-126f;

float Rounded(float x) { return BFloat16ToFloat(FloatToBFloat16(x)); }

// What adds up the products.
enum class Sums { kPairs, kTiles };

// A row of weights and a row of inputs, both rounded. Nothing in it is subnormal.
float ExactProduct(Sums sums, std::vector<float> w, const float* x) {
  std::vector<float> inputs(x, x + w.size());
  // Whole blocks.
  w.resize((w.size() + 31) / 32 * 32);
  inputs.resize(w.size());
  const auto product = [&](size_t k) { return Rounded(w[k]) * Rounded(inputs[k]); };
  float output = 0.0f;
  for (size_t block = 0; block < w.size(); block += 32) {
    float parts[2] = {};
    for (size_t k = block; k < block + 32; k += 2) {
      if (sums == Sums::kPairs) {
        output += product(k + 1);
        output += product(k);
      } else {
        parts[0] += product(k);
        parts[1] += product(k + 1);
      }
    }
    if (sums == Sums::kTiles) output += parts[0] + parts[1];
  }
  return output;
}

// A level, or the code of a level that this machine lacks with other instructions.
struct Instructions {
  const char* name;
  CpuLevel level;
  const char* sums_by;
  const KernelSet* (*stand_ins)() = nullptr;  // In place of the kernels of the level.

  Sums sums() const { return std::string(sums_by) == "tdpbf16ps" ? Sums::kTiles : Sums::kPairs; }
};
void PrintTo(const Instructions& instructions, std::ostream* to) { *to << instructions.name; }

constexpr Instructions kAllInstructions[] = {
    {"portable", CpuLevel::kPortable, "multiply and add"},
    {"avx2", CpuLevel::kAvx2, "fma"},
    {"avx512_without_bf16", CpuLevel::kAvx512Vnni, "fma", Avx512Kernels},
    {"avx512_bf16", CpuLevel::kAvx512Vnni, "vdpbf16ps", Avx512Bf16Kernels},
    {"amx", CpuLevel::kAmx, "tdpbf16ps"},
    {"amx_with_emulated_tiles", CpuLevel::kAvx512Vnni, "tdpbf16ps", EmulatedAmxKernels}};

// INVALID_ARGUMENT or FAILED_PRECONDITION, naming what is missing, if this machine cannot.
absl::StatusOr<std::unique_ptr<Backend>> MakeBackend(const Instructions& instructions,
                                                     int num_threads) {
  const CpuOptions options = {
      .num_threads = num_threads, .level = instructions.level, .products = CpuProducts::kBFloat16};
  if (instructions.stand_ins == nullptr) return MakeCpuBackend(options);
  const CpuFacts facts = ReadCpuFacts();
  if (absl::Status status = CheckCpuLevel(instructions.level, facts); !status.ok()) return status;
  if (!facts.avx512_bf16 && std::string(instructions.sums_by) != "fma") {
    return absl::InvalidArgumentError("this machine lacks AVX-512 BF16");
  }
  return MakeCpuBackend(options, *instructions.stand_ins());
}

using Parameters = std::tuple<Instructions, DType>;

class Bf16LinearTest : public testing::TestWithParam<Parameters> {
 protected:
  void SetUp() override {
    auto backend = MakeBackend(instructions(), 2);
    if (!backend.ok()) GTEST_SKIP() << backend.status().message();
    backend_ = *std::move(backend);
    stream_ = backend_->NewStream();
    ASSERT_TRUE(backend_->Reserve({.max_tokens = 240, .hidden = 1024}).ok());
  }

  const Instructions& instructions() const { return std::get<0>(GetParam()); }
  DType dtype() const { return std::get<1>(GetParam()); }
  int64_t WholeBlocks(int64_t inputs) const {
    const int64_t block = BlockElements(dtype());
    return (inputs + block - 1) / block * block;
  }

  Matrix Multiply(const LinearSource& source, Matrix& x, Matrix* bias = nullptr) {
    const auto packed = *backend_->PackLinear({source});
    Matrix out(x.rows(), packed->out_features());
    backend_->Linear(*stream_, x.tensor(), *packed, bias == nullptr ? Tensor{} : bias->tensor(),
                     out.tensor());
    return out;
  }

  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Stream> stream_;
};

TEST_P(Bf16LinearTest, TellsWhatAddsUp) {
  // How attention computes stands behind that.
  const std::string arithmetic = backend_->Arithmetic();
  EXPECT_EQ(
      arithmetic.substr(0, arithmetic.find(", attention")),
      std::string(instructions().level == CpuLevel::kAmx || instructions().sums() == Sums::kTiles
                      ? "amx"
                      : CpuLevelName(instructions().level)) +
          " bf16 by " + instructions().sums_by);
}

TEST_P(Bf16LinearTest, HasTheBitsOfTheArithmetic) {
  for (const int64_t inputs : {33, 544}) {
    const int64_t in_features = WholeBlocks(inputs);
    for (const int64_t outputs : {1, 37, 131}) {
      const RandomLinear linear(dtype(), in_features, outputs, 1);
      Matrix bias(1, outputs, 3);
      std::vector<std::vector<float>> weights;
      for (int64_t o = 0; o < outputs; ++o) weights.push_back(linear.Row(o));
      for (const int64_t rows : {1, 2, 3, 4, 5, 6, 7, 13, 49}) {
        Matrix x(rows, in_features, 2);
        const Matrix out = Multiply(linear.source(), x, &bias);
        for (int64_t i = 0; i < rows; ++i) {
          for (int64_t o = 0; o < outputs; ++o) {
            ASSERT_EQ(out.row(i)[o],
                      ExactProduct(instructions().sums(), weights[o], x.row(i)) + bias.row(0)[o])
                << "row " << i << " of " << rows << ", output " << o << " of " << outputs;
          }
        }
      }
    }
  }
}

// As many rows as are multiplied in one go, whole steps of rows after these, and rest; more inputs
// than a panel has.
TEST_P(Bf16LinearTest, ManyRowsHaveTheBitsOfTheirRowsAlone) {
  const int64_t in_features = WholeBlocks(800);
  const RandomLinear linear(dtype(), in_features, 53, 11);
  Matrix x(229, in_features, 12);
  Matrix bias(1, 53, 13);
  const Matrix out = Multiply(linear.source(), x, &bias);
  for (int64_t i = 0; i < x.rows(); ++i) {
    Matrix row = x.Rows(i, 1);
    ASSERT_EQ(out.Row(i), Multiply(linear.source(), row, &bias).Row(0)) << i;
  }
}

// Each of the two factors of a product is off by half of the last of 8 bits, and the sum by one
// rounding for each of its terms.
TEST_P(Bf16LinearTest, IsNearTheProductInFloat32) {
  const int64_t in_features = WholeBlocks(544);
  const RandomLinear linear(dtype(), in_features, 37, 3);
  Matrix bias(1, 37, 4);
  Matrix x(9, in_features, 5);
  const Matrix out = Multiply(linear.source(), x, &bias);
  const double relative =
      (1 + 0x1p-8) * (1 + 0x1p-8) - 1 + static_cast<double>(in_features + 1) * 0x1p-23;
  for (int64_t i = 0; i < x.rows(); ++i) {
    for (int64_t o = 0; o < 37; ++o) {
      const std::vector<float> w = linear.Row(o);
      double expected = bias.row(0)[o];
      double size = std::abs(expected);
      for (int64_t k = 0; k < in_features; ++k) {
        expected += double{w[k]} * x.row(i)[k];
        size += std::abs(double{w[k]} * x.row(i)[k]);
      }
      ASSERT_NEAR(out.row(i)[o], expected, relative * size);
    }
  }
}

TEST_P(Bf16LinearTest, ARowIsTheSameBitsInAnyBatchAndOnAnyThreads) {
  const int64_t in_features = WholeBlocks(576);
  const RandomLinear linear(dtype(), in_features, 150, 6);
  Matrix all(40, in_features, 7);
  const Matrix expected = Multiply(linear.source(), all);
  for (const int threads : {1, 2, 3}) {
    backend_ = *MakeBackend(instructions(), threads);
    ASSERT_TRUE(backend_->Reserve({.max_tokens = 64, .hidden = 1024}).ok());
    for (const int64_t first : {0, 3, 33}) {
      for (const int64_t rows : {1, 5, 7}) {
        Matrix x = all.Rows(first, rows);
        const Matrix out = Multiply(linear.source(), x);
        for (int64_t i = 0; i < rows; ++i) EXPECT_EQ(out.Row(i), expected.Row(first + i));
      }
    }
  }
}

TEST_P(Bf16LinearTest, InputsThatAreNoNumbersMakeTheirRowNoneAndNoOther) {
  const int64_t in_features = WholeBlocks(64);
  const RandomLinear linear(dtype(), in_features, 20, 8);
  Matrix x(4, in_features, 9);
  const std::vector<float> expected = Multiply(linear.source(), x).Row(2);
  // The largest of float32 is beyond the largest of bfloat16.
  x.values()[0 * in_features + 33] = std::numeric_limits<float>::max();
  // A NaN whose upper half alone would be infinity, and one that could overflow as it is rounded.
  x.values()[1 * in_features + 7] = std::bit_cast<float>(0x7f800001u);
  x.values()[3 * in_features + 63] = std::bit_cast<float>(0x7fffffffu);
  const Matrix out = Multiply(linear.source(), x);
  for (const float value : out.Row(0)) EXPECT_FALSE(std::isfinite(value));
  for (const int64_t i : {1, 3}) {
    for (const float value : out.Row(i)) EXPECT_TRUE(std::isnan(value));
  }
  EXPECT_EQ(out.Row(2), expected);
}

// They may count as zeros, as factors and as sums, and no more than that.
TEST_P(Bf16LinearTest, SubnormalNumbersCountAsWhatTheyAreOrAsZeros) {
  const int64_t in_features = WholeBlocks(96);
  const RandomLinear linear(dtype(), in_features, 20, 10);
  Matrix x(3, in_features, 14);
  for (int64_t k = 0; k < in_features; ++k) {
    x.values()[k] *= 0x1p-127f;                   // Mostly subnormal.
    x.values()[in_features + k] *= kLeastNormal;  // Products and sums are near the limit.
    if (k % 2 == 0) x.values()[2 * in_features + k] = 1e-40f;  // Beside others.
  }
  const Matrix out = Multiply(linear.source(), x);
  for (int64_t i = 0; i < x.rows(); ++i) {
    for (int64_t o = 0; o < 20; ++o) {
      const std::vector<float> w = linear.Row(o);
      double expected = 0;
      double bound = 0;
      for (int64_t k = 0; k < in_features; ++k) {
        const double product = double{Rounded(w[k])} * Rounded(x.row(i)[k]);
        expected += product;
        bound += 0x1p-23 * static_cast<double>(in_features) * std::abs(product) +
                 kLeastNormal * (2 + std::abs(double{w[k]}));
      }
      ASSERT_NEAR(out.row(i)[o], expected, bound) << "row " << i;
    }
  }
}

// All bits set make a NaN of every float, scales too, which would carry over as it is rounded.
TEST_P(Bf16LinearTest, AWeightThatIsNoNumberMakesItsOutputNaNAndNoOther) {
  const int64_t in_features = WholeBlocks(64);
  const RandomLinear linear(dtype(), in_features, 18, 15);
  const std::vector<std::byte> broken(RowBytes(dtype(), in_features), std::byte{0xff});
  const LinearSource good = linear.source();
  std::vector<const std::byte*> rows(good.rows.begin(), good.rows.end());
  rows[2] = broken.data();
  const LinearSource source = {dtype(), in_features, rows};
  Matrix x(2, in_features, 16);
  const Matrix out = Multiply(source, x);
  for (int64_t i = 0; i < 2; ++i) {
    for (int64_t o = 0; o < 18; ++o) EXPECT_EQ(std::isnan(out.row(i)[o]), o == 2) << o;
  }
}

INSTANTIATE_TEST_SUITE_P(AllLevels, Bf16LinearTest,
                         testing::Combine(testing::ValuesIn(kAllInstructions),
                                          testing::ValuesIn(kAllDTypes)),
                         [](const testing::TestParamInfo<Parameters>& info) {
                           return std::string(std::get<0>(info.param).name) + "_" +
                                  DTypeName(std::get<1>(info.param));
                         });

}  // namespace
}  // namespace phalanx::kernels
