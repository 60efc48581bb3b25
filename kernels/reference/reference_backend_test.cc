// The reference against numbers worked out by hand; other backends are tested against it.
#include "kernels/reference/reference_backend.h"

#include <cmath>
#include <list>
#include <memory>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/bfloat16.h"
#include "kernels/dequantize.h"
#include "kernels/testing/aligned_vector.h"
#include "kernels/testing/step_builder.h"

namespace phalanx::kernels {
namespace {

using Floats = AlignedVector<float>;

Tensor View(Floats& values, int64_t rows) {
  return {values.data(), DType::kF32, rows, static_cast<int64_t>(values.size()) / rows};
}

class ReferenceBackendTest : public testing::Test {
 protected:
  // A layer of float32 weights.
  std::unique_ptr<PackedLinear> Pack(const std::vector<std::vector<float>>& rows) {
    return *backend_->PackLinear({Source(rows)});
  }
  // Valid while `rows` and this fixture live.
  LinearSource Source(const std::vector<std::vector<float>>& rows) {
    std::vector<const std::byte*>& pointers = pointers_.emplace_back();
    for (const auto& row : rows) pointers.push_back(reinterpret_cast<const std::byte*>(row.data()));
    return {DType::kF32, static_cast<int64_t>(rows[0].size()), pointers};
  }

  std::list<std::vector<const std::byte*>> pointers_;
  const std::unique_ptr<Backend> backend_ = MakeReferenceBackend();
  const std::unique_ptr<Stream> stream_ = backend_->NewStream();
};

TEST_F(ReferenceBackendTest, LinearMultipliesAndAddsTheBias) {
  const auto weights = Pack({{1, 2, 3}, {0, -1, 0.5f}});
  Floats x = {1, 1, 1, 2, 0, -2};
  Floats bias = {10, 20};
  Floats out(4);
  backend_->Linear(*stream_, View(x, 2), *weights, {}, View(out, 2));
  EXPECT_EQ(out, (Floats{6, -0.5f, -4, -1}));
  backend_->Linear(*stream_, View(x, 2), *weights, View(bias, 1), View(out, 2));
  EXPECT_EQ(out, (Floats{16, 19.5f, 6, 19}));
}

TEST_F(ReferenceBackendTest, EmbedGivesZerosOutsideItsRows) {
  const auto table = Pack({{1, 2}, {3, 4}});
  StepBuilder step(1);
  step.Add(0, 4, {0});
  step.token_ids() = {5, 6, 7, 4};
  Floats out(8, NAN);
  backend_->Embed(*stream_, step.batch(), *table, 5, View(out, 4));
  EXPECT_EQ(out, (Floats{1, 2, 3, 4, 0, 0, 0, 0}));
}

TEST_F(ReferenceBackendTest, RmsNormDividesByTheRootMeanSquare) {
  Floats x = {3, 4, 3, -4};  // Mean square 12.5.
  Floats weight = {1, 1, 2, 1};
  Floats out(4);
  backend_->RmsNorm(*stream_, View(x, 1), View(weight, 1), 12.5f, View(out, 1));
  EXPECT_EQ(out, (Floats{0.6f, 0.8f, 1.2f, -0.8f}));
}

TEST_F(ReferenceBackendTest, AddRmsNormKeepsTheSum) {
  Floats residual = {1, 1};
  Floats delta = {2, -4};  // Sum {3, -3}, mean square 9.
  Floats weight = {1, 1};
  Floats out(2);
  backend_->AddRmsNorm(*stream_, View(residual, 1), View(delta, 1), View(weight, 1), 0.0f,
                       View(out, 1));
  EXPECT_EQ(residual, (Floats{3, -3}));
  EXPECT_EQ(out, (Floats{1, -1}));
}

TEST_F(ReferenceBackendTest, LinearAddAddsTheProduct) {
  const auto weights = Pack({{1, 2, 3}, {0, -1, 0.5f}});
  Floats x = {1, 1, 1, 2, 0, -2};
  Floats residual = {10, 20, 30, 40};
  backend_->LinearAdd(*stream_, View(x, 2), *weights, View(residual, 2));
  EXPECT_EQ(residual, (Floats{16, 19.5f, 26, 39}));
}

TEST_F(ReferenceBackendTest, GatedLinearGatesTheSecondProduct) {
  const std::vector<std::vector<float>> gate = {{0, 5}, {1, 0}};
  const std::vector<std::vector<float>> up = {{7, 0}, {0, 2}};
  const auto weights = *backend_->PackGatedLinear(Source(gate), Source(up));
  Floats x = {1, 0, 1, 1};
  Floats out(4);
  backend_->GatedLinear(*stream_, View(x, 2), *weights, View(out, 2));
  EXPECT_EQ(out[0], 0.0f);
  EXPECT_EQ(out[1], 0.0f);
  EXPECT_FLOAT_EQ(out[2], static_cast<float>(7 * 5 / (1 + std::exp(-5.0))));
  EXPECT_FLOAT_EQ(out[3], static_cast<float>(2 / (1 + std::exp(-1.0))));
}

TEST_F(ReferenceBackendTest, RopeTurnsHalfSplitPairsAndLeavesTheRest) {
  // One q head, one KV head, head_dim 6, of which 4 are turned: pairs (0, 2) and (1, 3).
  StepBuilder step(1);
  step.Add(1, 1, {0});
  Floats inv_freq = {static_cast<float>(M_PI / 2), 0};
  Floats cos_sin(4);
  backend_->RopeAngles(*stream_, step.batch(), View(inv_freq, 1), 2.0f, View(cos_sin, 1));
  EXPECT_NEAR(cos_sin[0], 0, 1e-6);
  EXPECT_EQ(cos_sin[1], 2.0f);
  EXPECT_EQ(cos_sin[2], 2.0f);
  EXPECT_EQ(cos_sin[3], 0.0f);
  const auto cache = *backend_->AllocateKvCache(
      {.num_layers = 1, .num_blocks = 1, .num_kv_heads = 1, .head_dim = 6});
  Floats qkv = {1, 2, 3, 4, 5, 6, 1, 0, 0, 0, 0, 7, 1, 1, 1, 1, 1, 1};
  Floats exact = {0, 2, 2, 0};
  backend_->RopeAndWriteKv(*stream_, step.batch(), View(exact, 1), 1, View(qkv, 1), *cache, 0);
  EXPECT_EQ(qkv, (Floats{-6, 4, 2, 8, 5, 6, 0, 0, 2, 0, 0, 7, 1, 1, 1, 1, 1, 1}));
}

TEST_F(ReferenceBackendTest, AttentionWeighsTheValuesOfItsOwnSequenceUpToItsPosition) {
  // Two tokens, two q heads on one KV head, head_dim 2, no rotation. Keys {ln 3, 0} and {0, 0}.
  const float ln3 = std::log(3.0f);
  const auto cache = *backend_->AllocateKvCache(
      {.num_layers = 1, .num_blocks = 3, .num_kv_heads = 1, .head_dim = 2});
  StepBuilder step(1);
  step.Add(0, 2, {2});
  Floats qkv = {1, 0, 0, 0, ln3, 0, 8, 0,  //
                1, 0, 0, 0, 0,   0, 0, 4};
  Floats still = {1, 0, 1, 0};
  Floats out(8);
  backend_->RopeAndWriteKv(*stream_, step.batch(), View(still, 2), 2, View(qkv, 2), *cache, 0);
  backend_->PagedAttention(*stream_, step.batch(), View(qkv, 2), 2, 1.0f, *cache, 0, View(out, 2));
  const Floats expected = {8, 0, 8, 0, 6, 1, 4, 2};
  for (int i = 0; i < 8; ++i) EXPECT_FLOAT_EQ(out[i], expected[i]) << i;
}

// Activations in bf16, made of floats, which are rounded.
class BFloat16s {
 public:
  BFloat16s(const std::vector<float>& values, int64_t rows) : rows_(rows) {
    for (const float value : values) bits_.push_back(FloatToBFloat16(value));
  }
  Tensor tensor() {
    return {bits_.data(), DType::kBF16, rows_, static_cast<int64_t>(bits_.size()) / rows_};
  }
  Floats floats() const {
    Floats values;
    for (const uint16_t bits : bits_) values.push_back(BFloat16ToFloat(bits));
    return values;
  }

 private:
  const int64_t rows_;
  AlignedVector<uint16_t> bits_;
};

// What bf16 makes of a float.
float Rounded(float value) { return BFloat16ToFloat(FloatToBFloat16(value)); }

// 1 + 2^-9 rounds to 1 in bf16, whose numbers above 1 are 2^-7 apart.
constexpr float kFine = 0x1p-9f;

TEST_F(ReferenceBackendTest, TellsItsTypes) {
  const auto backend = MakeTypedReferenceBackend({.activations = DType::kBF16});
  EXPECT_EQ(backend->activation_dtype(), DType::kBF16);
  EXPECT_EQ(backend->residual_dtype(), DType::kF32);
  EXPECT_EQ(MakeReferenceBackend()->activation_dtype(), DType::kF32);
}

TEST_F(ReferenceBackendTest, ProductsAreRoundedOnceWhereTheyAreStored) {
  const auto weights = Pack({{1, kFine, kFine}});
  Floats bias = {kFine};
  BFloat16s x({1, 1, 1}, 1);
  BFloat16s out({0}, 1);
  // Each of the three terms beside 1 alone would be lost.
  backend_->Linear(*stream_, x.tensor(), *weights, View(bias, 1), out.tensor());
  EXPECT_EQ(out.floats(), (Floats{1 + 0x1p-7f}));
  Floats logits = {0};
  backend_->Linear(*stream_, x.tensor(), *weights, {}, View(logits, 1));
  EXPECT_EQ(logits, (Floats{1 + 2 * kFine}));

  BFloat16s residual({1}, 1);
  const auto small = Pack({{0, kFine, 0}});
  backend_->LinearAdd(*stream_, x.tensor(), *small, residual.tensor());
  EXPECT_EQ(residual.floats(), (Floats{1}));
  Floats wide_residual = {1};
  backend_->LinearAdd(*stream_, x.tensor(), *small, View(wide_residual, 1));
  EXPECT_EQ(wide_residual, (Floats{1 + kFine}));
}

TEST_F(ReferenceBackendTest, GatedProductsAreNotRoundedBeforeTheyMeet) {
  const std::vector<std::vector<float>> gate = {{1, kFine}};
  const std::vector<std::vector<float>> up = {{2, 0}};
  const auto weights = *backend_->PackGatedLinear(Source(gate), Source(up));
  BFloat16s x({1, 1}, 1);
  BFloat16s out({0}, 1);
  Floats exact(1);
  Floats wide_x = {1, 1};
  backend_->GatedLinear(*stream_, View(wide_x, 1), *weights, View(exact, 1));
  backend_->GatedLinear(*stream_, x.tensor(), *weights, out.tensor());
  EXPECT_EQ(out.floats(), (Floats{Rounded(exact[0])}));
}

TEST_F(ReferenceBackendTest, NormsReadTheResidualAsItIsStored) {
  Floats weight = {1, 1};
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    Floats wide = {1, 3};
    BFloat16s narrow({1, 3}, 1);
    const Tensor residual = dtype == DType::kF32 ? View(wide, 1) : narrow.tensor();
    BFloat16s delta({kFine, 0}, 1);
    backend_->AddRmsNorm(*stream_, residual, delta.tensor(), View(weight, 1), 0.0f, delta.tensor());
    const Floats stored = dtype == DType::kF32 ? wide : narrow.floats();
    EXPECT_EQ(stored[0], dtype == DType::kF32 ? 1 + kFine : 1.0f);
    BFloat16s expected({0, 0}, 1);
    backend_->RmsNorm(*stream_, residual, View(weight, 1), 0.0f, expected.tensor());
    EXPECT_EQ(delta.floats(), expected.floats());
    const float scale = 1 / std::sqrt((stored[0] * stored[0] + 9) / 2);
    EXPECT_NEAR(delta.floats()[1], 3 * scale, 3 * scale * 0x1p-9);
  }
}

TEST_F(ReferenceBackendTest, TheCacheHasKeysAsTheyAreStored) {
  // Two tokens of one head, whose keys are 1 and 1 + 2^-9 after rotation, which is rounded to 1. So
  // the second token weighs both values equally; with its key as it was computed, it would weigh
  // its own almost seven times as much.
  const auto cache = *backend_->AllocateKvCache(
      {.num_layers = 1, .num_blocks = 1, .num_kv_heads = 1, .head_dim = 2});
  StepBuilder step(1);
  step.Add(0, 2, {0});
  Floats cos_sin = {1, 0, 1 + kFine, 0};
  BFloat16s qkv({1, 0, 1, 0, 0, 0,  //
                 1, 0, 1, 0, 4, 8},
                2);
  BFloat16s out({0, 0, 0, 0}, 2);
  backend_->RopeAndWriteKv(*stream_, step.batch(), View(cos_sin, 2), 1, qkv.tensor(), *cache, 0);
  backend_->PagedAttention(*stream_, step.batch(), qkv.tensor(), 1, 1000.0f, *cache, 0,
                           out.tensor());
  EXPECT_EQ(out.floats(), (Floats{0, 0, 2, 4}));
}

TEST_F(ReferenceBackendTest, TheCacheHasValuesOfItsType) {
  // One token, whose output is its own value. In int8 the first value makes the scale 1, and the
  // second lies between two levels. In fp8 the largest of 448 does, and 17 lies between 16 and 18.
  struct Case {
    KvDType dtype;
    Floats value;
    Floats expected;
  };
  for (const Case& c :
       {Case{KvDType::kF32, {1 + kFine, 3}, {1 + kFine, 3}},
        Case{KvDType::kBF16, {1 + kFine, 3}, {1, 3}}, Case{KvDType::kInt8, {-127, 2.5f}, {-127, 2}},
        Case{KvDType::kFp8, {448, 17}, {448, 16}}}) {
    const auto cache = *backend_->AllocateKvCache(
        {.num_layers = 1, .num_blocks = 1, .num_kv_heads = 1, .head_dim = 2, .dtype = c.dtype});
    StepBuilder step(1);
    step.Add(0, 1, {0});
    Floats cos_sin = {1, 0};
    Floats qkv = {1, 0, 1, 0, c.value[0], c.value[1]};
    Floats out = {0, 0};
    backend_->RopeAndWriteKv(*stream_, step.batch(), View(cos_sin, 1), 1, View(qkv, 1), *cache, 0);
    backend_->PagedAttention(*stream_, step.batch(), View(qkv, 1), 1, 1.0f, *cache, 0,
                             View(out, 1));
    EXPECT_EQ(out, c.expected) << KvDTypeName(c.dtype);
  }
}

TEST_F(ReferenceBackendTest, KeysAreRoundedOnceTheyAreRotated) {
  // Rotated by a quarter and doubled, the key (63.5, 1.3 | 1.3) is (-2.6, 127 | 1.3): in int8 with
  // scale 1 it reads as (-3, 127 | 1). Two tokens of values 0 and 1 tell what it reads as: the
  // query picks one dimension.
  const auto cache = *backend_->AllocateKvCache({.num_layers = 1,
                                                 .num_blocks = 1,
                                                 .num_kv_heads = 1,
                                                 .head_dim = 3,
                                                 .dtype = KvDType::kInt8});
  const Floats expected = {-3, 127, 1};
  for (int d = 0; d < 3; ++d) {
    StepBuilder step(1);
    step.Add(0, 2, {0});
    Floats cos_sin = {1, 0, 0, 2};
    Floats qkv = {0, 0, 0, 0,     0,    0,    0, 0, 0,  //
                  0, 0, 0, 63.5f, 1.3f, 1.3f, 1, 0, 0};
    // The query is turned too: what becomes (1, 0) was (0, -1 / 2).
    qkv[9] = d == 1 ? 0.5f : 0.0f;
    qkv[10] = d == 0 ? -0.5f : 0.0f;
    qkv[11] = d == 2 ? 1.0f : 0.0f;
    Floats out(6);
    backend_->RopeAndWriteKv(*stream_, step.batch(), View(cos_sin, 2), 1, View(qkv, 2), *cache, 0);
    backend_->PagedAttention(*stream_, step.batch(), View(qkv, 2), 1, 0.01f, *cache, 0,
                             View(out, 2));
    const double weight = std::exp(0.01 * expected[d]);
    EXPECT_NEAR(out[3], weight / (1 + weight), 1e-6) << d;
  }
}

TEST_F(ReferenceBackendTest, EmbeddingIsRoundedToTheTypeOfTheResidual) {
  const auto table = Pack({{1 + kFine, 2}});
  StepBuilder step(1);
  step.Add(0, 1, {0});
  BFloat16s out({7, 7}, 1);
  backend_->Embed(*stream_, step.batch(), *table, 0, out.tensor());
  EXPECT_EQ(out.floats(), (Floats{1, 2}));
}

TEST_F(ReferenceBackendTest, SamplesGreedilyAtTemperatureZero) {
  StepBuilder step(1);
  step.Add(0, 2, {0});
  step.WantLogits(1, {});
  Floats logits = {0, 3, 1};
  int32_t token = -1;
  backend_->Sample(*stream_, step.sampling(), View(logits, 1), &token);
  EXPECT_EQ(token, 1);
}

}  // namespace
}  // namespace phalanx::kernels
