// The reference against numbers worked out by hand; other backends are tested against it.
#include "kernels/reference/reference_backend.h"

#include <cmath>
#include <memory>
#include <vector>

#include "gtest/gtest.h"
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
    std::vector<const std::byte*> pointers;
    for (const auto& row : rows) pointers.push_back(reinterpret_cast<const std::byte*>(row.data()));
    return *backend_->PackLinear(
        {LinearSource{DType::kF32, static_cast<int64_t>(rows[0].size()), pointers}});
  }

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

TEST_F(ReferenceBackendTest, SiluMulGatesTheSecondHalf) {
  Floats gate_up = {0, 1, 5, 2};
  Floats out(2);
  backend_->SiluMul(*stream_, View(gate_up, 1), View(out, 1));
  EXPECT_EQ(out[0], 0.0f);
  EXPECT_FLOAT_EQ(out[1], static_cast<float>(2 / (1 + std::exp(-1.0))));
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
