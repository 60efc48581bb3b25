// The CUDA backend with activations in bfloat16: against the reference with the
// same types. What is stored in bfloat16 may differ by one rounding of it.
#include "kernels/bfloat16.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/testing/bfloat16_matrix.h"
#include "kernels/cuda/testing/cuda_variants.h"
#include "kernels/dequantize.h"
#include "kernels/reference/reference_backend.h"
#include "kernels/testing/aligned_vector.h"
#include "kernels/testing/random_linear.h"
#include "kernels/testing/step_builder.h"

namespace phalanx::kernels {
namespace {

// Half the distance from 1 to the next number.
constexpr double kStored = 0x1p-8;
constexpr double kSummed = 0x1p-24;

class BFloat16Test : public testing::TestWithParam<CudaVariant> {
 protected:
  BFloat16Test() {
    GetParam().choose();
    backend_ = *MakeCudaBackend({.activations = DType::kBF16});
    stream_ = backend_->NewStream();
    reference_stream_ = reference_->NewStream();
    EXPECT_TRUE(backend_
                    ->Reserve({.max_tokens = 256,
                               .max_seqs = 16,
                               .local_q_heads = 8,
                               .head_dim = 128,
                               .max_blocks_per_seq = 64})
                    .ok());
  }
  void Synchronize() { ASSERT_TRUE(stream_->Synchronize().ok()); }

  // The sum of the sizes of the terms of an output.
  static double Size(const std::vector<float>& weights, const BFloat16Matrix& x, int64_t row) {
    double size = 0;
    for (size_t i = 0; i < weights.size(); ++i) size += std::abs(double{weights[i]} * x.at(row, i));
    return size;
  }

  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Stream> stream_;
  const std::unique_ptr<Backend> reference_ =
      MakeTypedReferenceBackend({.activations = DType::kBF16});
  std::unique_ptr<Stream> reference_stream_;
};

INSTANTIATE_TEST_SUITE_P(Variants, BFloat16Test, testing::ValuesIn(CudaVariants()),
                         [](const auto& info) { return info.param.name; });

// Few rows and many, outputs that fill no tile, inputs that fill no range.
TEST_P(BFloat16Test, ProductsAreThoseOfTheReferenceForAllTypesOfWeights) {
  for (const DType dtype : kAllDTypes) {
    for (const int64_t outputs : {16, 37}) {
      const int64_t inputs = BlockElements(dtype) == 256 ? 256 : 352;
      const RandomLinear linear(dtype, inputs, outputs, 1);
      const auto packed = *backend_->PackLinear({linear.source()});
      const auto truth = *reference_->PackLinear({linear.source()});
      for (const int64_t rows : {1, 9, 20, 64, 70}) {
        BFloat16Matrix x(rows, inputs, 2);
        FloatMatrix out(rows, outputs, NAN);
        FloatMatrix expected(rows, outputs, NAN);
        backend_->Linear(*stream_, x.tensor(), *packed, {}, out.tensor());
        reference_->Linear(*reference_stream_, x.tensor(), *truth, {}, expected.tensor());
        Synchronize();
        for (int64_t o = 0; o < outputs; ++o) {
          const std::vector<float> weights = linear.Row(o);
          for (int64_t i = 0; i < rows; ++i) {
            ASSERT_NEAR(out.at(i, o), expected.at(i, o),
                        static_cast<double>(inputs) * kSummed * Size(weights, x, i))
                << DTypeName(dtype) << ", row " << i << " of " << rows << ", output " << o;
          }
        }
      }
    }
  }
}

TEST_P(BFloat16Test, ARowHasTheSameBitsWhateverTheOtherRowsAre) {
  for (const DType dtype : {DType::kBF16, DType::kF16, DType::kQ4_K, DType::kQ8_0}) {
    const RandomLinear linear(dtype, 512, 48, 3);
    const auto packed = *backend_->PackLinear({linear.source()});
    const auto gated = *backend_->PackGatedLinear(linear.source(), linear.source());
    BFloat16Matrix x(200, 512, 4);
    BFloat16Matrix all(200, 48);
    BFloat16Matrix all_gated(200, 48);
    backend_->Linear(*stream_, x.tensor(), *packed, {}, all.tensor());
    backend_->GatedLinear(*stream_, x.tensor(), *gated, all_gated.tensor());
    for (const int64_t rows : {1, 8, 16, 33, 64, 65}) {
      BFloat16Matrix some(200, 48);
      BFloat16Matrix some_gated(200, 48);
      backend_->Linear(*stream_, x.FirstRows(rows), *packed, {}, some.FirstRows(rows));
      backend_->GatedLinear(*stream_, x.FirstRows(rows), *gated, some_gated.FirstRows(rows));
      Synchronize();
      const auto end = rows * 48;
      EXPECT_TRUE(std::equal(some.bits().begin(), some.bits().begin() + end, all.bits().begin()))
          << DTypeName(dtype) << ", " << rows << " rows";
      EXPECT_TRUE(std::equal(some_gated.bits().begin(), some_gated.bits().begin() + end,
                             all_gated.bits().begin()))
          << DTypeName(dtype) << ", " << rows << " rows";
    }
  }
}

TEST_P(BFloat16Test, LinearTakesABiasAndStoresBFloat16) {
  const RandomLinear linear(DType::kBF16, 64, 24, 5);
  const auto packed = *backend_->PackLinear({linear.source()});
  const auto truth = *reference_->PackLinear({linear.source()});
  for (const int64_t rows : {3, 80}) {
    BFloat16Matrix x(rows, 64, 6);
    FloatMatrix bias(1, 24, 0.5f);
    BFloat16Matrix out(rows, 24);
    BFloat16Matrix expected(rows, 24);
    backend_->Linear(*stream_, x.tensor(), *packed, bias.tensor(), out.tensor());
    reference_->Linear(*reference_stream_, x.tensor(), *truth, bias.tensor(), expected.tensor());
    Synchronize();
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t o = 0; o < 24; ++o) {
        const double size = 0.5 + Size(linear.Row(o), x, i);
        ASSERT_NEAR(out.at(i, o), expected.at(i, o),
                    2 * kStored * std::abs(expected.at(i, o)) + 65 * kSummed * size);
      }
    }
  }
}

TEST_P(BFloat16Test, LinearAddAddsToTheResidualInFloat32) {
  const RandomLinear linear(DType::kQ4_0, 96, 40, 7);
  const auto packed = *backend_->PackLinear({linear.source()});
  const auto truth = *reference_->PackLinear({linear.source()});
  for (const int64_t rows : {5, 100}) {
    BFloat16Matrix x(rows, 96, 8);
    FloatMatrix residual(rows, 40, 3.0f);
    FloatMatrix expected(rows, 40, 3.0f);
    backend_->LinearAdd(*stream_, x.tensor(), *packed, residual.tensor());
    reference_->LinearAdd(*reference_stream_, x.tensor(), *truth, expected.tensor());
    Synchronize();
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t o = 0; o < 40; ++o) {
        ASSERT_NEAR(residual.at(i, o), expected.at(i, o),
                    97 * kSummed * (3 + Size(linear.Row(o), x, i)));
      }
    }
  }
}

TEST_P(BFloat16Test, GatedLinearIsThatOfTheReference) {
  for (const DType dtype : {DType::kBF16, DType::kQ4_1}) {
    const RandomLinear gate(dtype, 64, 40, 9);
    const RandomLinear up(dtype, 64, 40, 10);
    const auto packed = *backend_->PackGatedLinear(gate.source(), up.source());
    const auto truth = *reference_->PackGatedLinear(gate.source(), up.source());
    for (const int64_t rows : {1, 12, 130}) {
      BFloat16Matrix x(rows, 64, 11);
      BFloat16Matrix out(rows, 40);
      BFloat16Matrix expected(rows, 40);
      backend_->GatedLinear(*stream_, x.tensor(), *packed, out.tensor());
      reference_->GatedLinear(*reference_stream_, x.tensor(), *truth, expected.tensor());
      Synchronize();
      for (int64_t i = 0; i < rows; ++i) {
        for (int64_t o = 0; o < 40; ++o) {
          // The slope of silu is below 1.1, and silu(x) not above |x|.
          const double g = Size(gate.Row(o), x, i);
          const double u = Size(up.Row(o), x, i);
          ASSERT_NEAR(out.at(i, o), expected.at(i, o),
                      2 * kStored * std::abs(expected.at(i, o)) + 3 * 66 * kSummed * g * u);
        }
      }
    }
  }
}

TEST_P(BFloat16Test, NormsAreThoseOfTheReference) {
  for (const int64_t cols : {64, 50}) {
    BFloat16Matrix delta(3, cols, 12);
    FloatMatrix residual(3, cols, 0.25f);
    FloatMatrix expected_residual(3, cols, 0.25f);
    FloatMatrix weight(1, cols, 1.5f);
    BFloat16Matrix out(3, cols);
    BFloat16Matrix expected(3, cols);
    backend_->AddRmsNorm(*stream_, residual.tensor(), delta.tensor(), weight.tensor(), 1e-5f,
                         out.tensor());
    reference_->AddRmsNorm(*reference_stream_, expected_residual.tensor(), delta.tensor(),
                           weight.tensor(), 1e-5f, expected.tensor());
    Synchronize();
    EXPECT_EQ(residual.values(), expected_residual.values());
    for (int64_t i = 0; i < 3; ++i) {
      for (int64_t j = 0; j < cols; ++j) {
        ASSERT_NEAR(out.at(i, j), expected.at(i, j), 2 * kStored * std::abs(expected.at(i, j)));
      }
    }
  }
}

struct Heads {
  int q_heads;
  int kv_heads;
  int head_dim;
};

// One sequence: its rows of q, k and v, and its blocks.
struct Sequence {
  BFloat16Matrix qkv;
  std::vector<int32_t> blocks;
};

// A backend with a cache, which steps write to and attend over.
class AttentionRun {
 public:
  // Keys and queries are turned by multiples of `frequency`.
  AttentionRun(Backend& backend, const Heads& heads, int num_blocks, KvDType dtype, float frequency)
      : backend_(backend),
        heads_(heads),
        frequency_(frequency),
        stream_(backend.NewStream()),
        cache_(*backend.AllocateKvCache({.num_layers = 1,
                                         .num_blocks = num_blocks,
                                         .num_kv_heads = heads.kv_heads,
                                         .head_dim = heads.head_dim,
                                         .dtype = dtype})) {}

  struct Chunk {
    Sequence* sequence;
    int first;
    int count;
  };

  AlignedVector<uint16_t> Step(const std::vector<Chunk>& chunks) {
    StepBuilder step(64);
    const int64_t cols = int64_t{heads_.q_heads + 2 * heads_.kv_heads} * heads_.head_dim;
    int64_t tokens = 0;
    for (const Chunk& c : chunks) {
      step.Add(c.first, c.count, c.sequence->blocks, 0);
      tokens += c.count;
    }
    BFloat16Matrix qkv(tokens, cols);
    auto to = qkv.bits().begin();
    for (const Chunk& c : chunks) {
      to = std::copy_n(c.sequence->qkv.bits().begin() + c.first * cols, c.count * cols, to);
    }
    FloatMatrix inv_freq(1, heads_.head_dim / 2, frequency_);
    FloatMatrix cos_sin(tokens, heads_.head_dim, 0.0f);
    BFloat16Matrix out(tokens, int64_t{heads_.q_heads} * heads_.head_dim);
    backend_.RopeAngles(*stream_, step.batch(), inv_freq.tensor(), 1.0f, cos_sin.tensor());
    backend_.RopeAndWriteKv(*stream_, step.batch(), cos_sin.tensor(), heads_.q_heads, qkv.tensor(),
                            *cache_, 0);
    backend_.PagedAttention(*stream_, step.batch(), qkv.tensor(), heads_.q_heads, 0.125f, *cache_,
                            0, out.tensor());
    EXPECT_TRUE(stream_->Synchronize().ok());
    return out.bits();
  }

 private:
  Backend& backend_;
  const Heads heads_;
  const float frequency_;
  const std::unique_ptr<Stream> stream_;
  const std::unique_ptr<KvCache> cache_;
};

// Of tests that compare bits.
constexpr float kFrequency = 0.25f;

// Sequences of the given lengths, in shuffled blocks.
std::vector<Sequence> MakeSequences(const Heads& heads, const std::vector<int>& lengths,
                                    int* num_blocks) {
  const int64_t cols = int64_t{heads.q_heads + 2 * heads.kv_heads} * heads.head_dim;
  std::vector<Sequence> sequences;
  int next = 0;
  for (const int length : lengths) {
    Sequence sequence = {BFloat16Matrix(length, cols, static_cast<uint32_t>(length)), {}};
    for (int i = 0; i < (length + 15) / 16; ++i) sequence.blocks.push_back(next++);
    sequences.push_back(std::move(sequence));
  }
  std::vector<int32_t> all(next);
  for (int i = 0; i < next; ++i) all[i] = i;
  std::shuffle(all.begin(), all.end(), std::mt19937(5));
  for (Sequence& sequence : sequences) {
    for (int32_t& block : sequence.blocks) block = all[block];
  }
  *num_blocks = next;
  return sequences;
}

// Values are below 5 in size. A weight is rounded to bfloat16, with the scale of its value if there
// is one, and so is the result, on both sides: each may differ by 2^-9 of that, four times 0.01.
// Rotated keys may differ by a rounding to bfloat16, which moves scores by up to 2^-9 of a product,
// but these differences are as often of one sign as of the other and vanish beside the bound. A
// level that they move would not: so keys that are quantized are not turned, and are the same.
TEST_P(BFloat16Test, AttentionIsThatOfTheReference) {
  for (const Heads& heads : {Heads{6, 2, 64}, Heads{3, 1, 128}, Heads{4, 4, 64}, Heads{5, 1, 80}}) {
    for (const KvDType dtype : {KvDType::kBF16, KvDType::kInt8, KvDType::kFp8}) {
      const float frequency = HasKvScales(dtype) ? 0.0f : kFrequency;
      int num_blocks = 0;
      std::vector<Sequence> s = MakeSequences(heads, {1, 37, 300, 65}, &num_blocks);
      AttentionRun run(*backend_, heads, num_blocks, dtype, frequency);
      AttentionRun truth(*reference_, heads, num_blocks, dtype, frequency);
      const std::vector<std::vector<AttentionRun::Chunk>> steps = {
          {{&s[0], 0, 1}, {&s[1], 0, 36}, {&s[2], 0, 299}, {&s[3], 0, 64}},
          {{&s[3], 64, 1}, {&s[1], 36, 1}, {&s[2], 299, 1}}};
      for (const auto& step : steps) {
        const auto out = run.Step(step);
        const auto expected = truth.Step(step);
        ASSERT_EQ(out.size(), expected.size());
        for (size_t i = 0; i < out.size(); ++i) {
          ASSERT_NEAR(BFloat16ToFloat(out[i]), BFloat16ToFloat(expected[i]), 0.04)
              << KvDTypeName(dtype) << ", heads of " << heads.head_dim << ", element " << i;
        }
      }
    }
  }
}

// Between two values whose sizes are far apart, by less than an average of them could.
TEST_P(BFloat16Test, EachKeyAndValueHasItsOwnScale) {
  const Heads heads = {2, 1, 64};
  for (const KvDType dtype : kAllKvDTypes) {
    int num_blocks = 0;
    std::vector<Sequence> s = MakeSequences(heads, {40}, &num_blocks);
    // Queries are zeros, so that all keys weigh the same.
    for (int64_t t = 0; t < 40; ++t) {
      for (int64_t i = 0; i < 4 * 64; ++i) {
        const float value =
            std::ldexp(1.0f + static_cast<float>(i % 64) / 64, static_cast<int>(-t));
        s[0].qkv.bits()[t * 4 * 64 + i] = FloatToBFloat16(i < 128 ? 0.0f : value);
      }
    }
    AttentionRun run(*backend_, heads, num_blocks, dtype, 0.0f);
    AttentionRun truth(*reference_, heads, num_blocks, dtype, 0.0f);
    const auto out = run.Step({{&s[0], 0, 40}});
    const auto expected = truth.Step({{&s[0], 0, 40}});
    for (size_t i = 0; i < out.size(); ++i) {
      const float size = BFloat16ToFloat(expected[i]);
      ASSERT_NEAR(BFloat16ToFloat(out[i]), size, 2.5 * kStored * size) << KvDTypeName(dtype);
    }
  }
}

// Keys of later tokens are in the same tile, with whatever numbers.
TEST_P(BFloat16Test, ATokenDoesNotSeeTheFaultsOfLaterOnes) {
  const Heads heads = {2, 1, 64};
  for (const KvDType dtype : {KvDType::kInt8, KvDType::kFp8}) {
    int num_blocks = 0;
    std::vector<Sequence> s = MakeSequences(heads, {40}, &num_blocks);
    AttentionRun run(*backend_, heads, num_blocks, dtype, kFrequency);
    const auto expected = run.Step({{&s[0], 0, 40}});
    for (size_t i = 30 * 4 * 64; i < s[0].qkv.bits().size(); ++i) {
      s[0].qkv.bits()[i] = FloatToBFloat16(NAN);
    }
    const auto out = run.Step({{&s[0], 0, 40}});
    EXPECT_TRUE(std::equal(out.begin(), out.begin() + 30 * 2 * 64, expected.begin()))
        << KvDTypeName(dtype);
    EXPECT_TRUE(std::isnan(BFloat16ToFloat(out[30 * 2 * 64]))) << KvDTypeName(dtype);
  }
}

TEST_P(BFloat16Test, AttentionOfATokenIsTheSameBitsHoweverStepsAreCut) {
  for (const auto& [dtype, heads] :
       {std::pair(KvDType::kBF16, Heads{6, 2, 128}), std::pair(KvDType::kInt8, Heads{2, 1, 128}),
        std::pair(KvDType::kFp8, Heads{2, 1, 64})}) {
    int num_blocks = 0;
    std::vector<Sequence> s = MakeSequences(heads, {600, 50}, &num_blocks);
    AttentionRun one_shot(*backend_, heads, num_blocks, dtype, kFrequency);
    const auto expected = one_shot.Step({{&s[0], 0, 600}});
    AttentionRun chunked(*backend_, heads, num_blocks, dtype, kFrequency);
    const int64_t cols = int64_t{heads.q_heads} * heads.head_dim;
    int first = 0;
    for (const int count : {1, 250, 4, 1, 1, 254, 1, 1, 87}) {
      // With one other token in the step or with many, which decides about the kernel.
      std::vector<AttentionRun::Chunk> chunks = {{&s[1], first % 50, 1}, {&s[0], first, count}};
      const auto out = chunked.Step(chunks);
      EXPECT_TRUE(std::equal(out.begin() + cols, out.end(), expected.begin() + first * cols))
          << KvDTypeName(dtype) << ", " << count << " tokens from " << first;
      first += count;
    }
    EXPECT_EQ(first, 600);
  }
}

// More sequences than share out segments.
TEST_P(BFloat16Test, AttentionOfManyTokensIsThatOfEachAlone) {
  const Heads heads = {3, 1, 64};
  int num_blocks = 0;
  std::vector<int> lengths;
  for (int i = 0; i < 17; ++i) lengths.push_back(280 + i);
  std::vector<Sequence> s = MakeSequences(heads, lengths, &num_blocks);
  for (const KvDType dtype : {KvDType::kBF16, KvDType::kInt8}) {
    AttentionRun run(*backend_, heads, num_blocks, dtype, kFrequency);
    std::vector<AttentionRun::Chunk> all;
    for (Sequence& sequence : s) {
      const int length = lengths[&sequence - s.data()];
      run.Step({{&sequence, 0, length - 1}});
      all.push_back({&sequence, length - 1, 1});
    }
    const auto together = run.Step(all);
    const int64_t cols = int64_t{heads.q_heads} * heads.head_dim;
    for (size_t i = 0; i < all.size(); ++i) {
      const auto alone = run.Step({all[i]});
      EXPECT_TRUE(
          std::equal(alone.begin(), alone.end(), together.begin() + static_cast<int64_t>(i) * cols))
          << KvDTypeName(dtype);
    }
  }
}

}  // namespace
}  // namespace phalanx::kernels
