// What the CPU backend promises beyond the contract of all backends, which kernels/testing tests.
#include "kernels/cpu/cpu_backend.h"

#include <memory>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/testing/matrix.h"
#include "kernels/testing/random_linear.h"
#include "kernels/testing/step_builder.h"

namespace phalanx::kernels {
namespace {

TEST(MakeCpuBackendTest, RefusesFewerThanOneThread) {
  EXPECT_EQ(MakeCpuBackend({.num_threads = 0}).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(MakeCpuBackendTest, DescribesItself) {
  const auto backend =
      MakeCpuBackend({.num_threads = 2, .instructions = CpuInstructions::kPortable});
  ASSERT_TRUE(backend.ok()) << backend.status();
  EXPECT_EQ((*backend)->Describe(), "cpu portable, 2 threads");
  EXPECT_EQ((*backend)->Arithmetic(), "portable");
  EXPECT_EQ((*backend)->determinism(), Determinism::kStrict);
}

// The same work on backends of any number of threads.
class CpuThreadsTest : public testing::TestWithParam<CpuInstructions> {
 protected:
  void SetUp() override {
    const auto one = MakeCpuBackend({.instructions = GetParam()});
    if (!one.ok()) GTEST_SKIP() << one.status();
  }
  std::unique_ptr<Backend> WithThreads(int threads) {
    return *MakeCpuBackend({.num_threads = threads, .instructions = GetParam()});
  }
};

AlignedVector<float> Product(Backend& backend, const RandomLinear& linear, Matrix& x) {
  const auto weights = *backend.PackLinear({linear.source()});
  Matrix out(x.rows(), weights->out_features());
  backend.Linear(*backend.NewStream(), x.tensor(), *weights, {}, out.tensor());
  return out.values();
}

TEST_P(CpuThreadsTest, BitsOfAProductDoNotDependOnTheirNumber) {
  const RandomLinear linear(DType::kQ8_0, 320, 77, 10);
  for (int64_t rows : {1, 8, 50}) {
    Matrix x(rows, 320, 11);
    const AlignedVector<float> expected = Product(*WithThreads(1), linear, x);
    for (int threads : {2, 3, 7}) EXPECT_EQ(Product(*WithThreads(threads), linear, x), expected);
  }
}

AlignedVector<float> Gated(Backend& backend, const RandomLinear& linear, Matrix& x) {
  const auto weights = *backend.PackGatedLinear(linear.source(), linear.source());
  Matrix out(x.rows(), weights->out_features());
  EXPECT_TRUE(backend.Reserve({.max_tokens = 50, .hidden = 77, .local_ffn = 77}).ok());
  backend.GatedLinear(*backend.NewStream(), x.tensor(), *weights, out.tensor());
  return out.values();
}

TEST_P(CpuThreadsTest, BitsOfAGatedProductDoNotDependOnTheirNumber) {
  const RandomLinear linear(DType::kQ8_0, 320, 77, 10);
  for (int64_t rows : {1, 8, 50}) {
    Matrix x(rows, 320, 11);
    const AlignedVector<float> expected = Gated(*WithThreads(1), linear, x);
    for (int threads : {2, 3, 7}) EXPECT_EQ(Gated(*WithThreads(threads), linear, x), expected);
  }
}

// Attention over two sequences of 40 and 3 tokens.
AlignedVector<float> Attention(Backend& backend) {
  constexpr int kTokens = 43;
  constexpr int kQHeads = 6;
  constexpr int kKvHeads = 2;
  constexpr int kHeadDim = 80;
  StepBuilder step(3);
  step.Add(0, 40, {2, 0, 3});
  step.Add(0, 3, {1});
  const auto cache = *backend.AllocateKvCache(
      {.num_layers = 1, .num_blocks = 4, .num_kv_heads = kKvHeads, .head_dim = kHeadDim});
  const auto stream = backend.NewStream();
  Matrix cos_sin(kTokens, kHeadDim, 1);
  Matrix qkv(kTokens, (kQHeads + 2 * kKvHeads) * kHeadDim, 2);
  Matrix out(kTokens, kQHeads * kHeadDim);
  backend.RopeAndWriteKv(*stream, step.batch(), cos_sin.tensor(), kQHeads, qkv.tensor(), *cache, 0);
  backend.PagedAttention(*stream, step.batch(), qkv.tensor(), kQHeads, 0.125f, *cache, 0,
                         out.tensor());
  return out.values();
}

TEST_P(CpuThreadsTest, BitsOfAttentionDoNotDependOnTheirNumber) {
  const AlignedVector<float> expected = Attention(*WithThreads(1));
  for (int threads : {2, 5}) EXPECT_EQ(Attention(*WithThreads(threads)), expected);
}

INSTANTIATE_TEST_SUITE_P(AllInstructions, CpuThreadsTest,
                         testing::Values(CpuInstructions::kPortable, CpuInstructions::kAvx2),
                         [](const auto& info) {
                           return info.param == CpuInstructions::kAvx2 ? "Avx2" : "Portable";
                         });

}  // namespace
}  // namespace phalanx::kernels
