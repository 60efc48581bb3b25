// What the CPU backend promises beyond the contract of all backends, which kernels/testing tests.
#include "kernels/cpu/cpu_backend.h"

#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/reference/reference_backend.h"
#include "kernels/testing/matrix.h"
#include "kernels/testing/random_linear.h"
#include "kernels/testing/step_builder.h"

namespace phalanx::kernels {
namespace {

TEST(MakeCpuBackendTest, RefusesFewerThanOneThread) {
  EXPECT_EQ(MakeCpuBackend({.num_threads = 0}).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(MakeCpuBackendTest, DescribesItself) {
  const auto backend = MakeCpuBackend({.num_threads = 2, .level = CpuLevel::kPortable});
  ASSERT_TRUE(backend.ok()) << backend.status();
  EXPECT_EQ((*backend)->Describe(),
            "cpu portable, 2 threads, products with quantized weights in float32");
  EXPECT_EQ((*backend)->Arithmetic(), "portable");
  EXPECT_EQ((*backend)->determinism(), Determinism::kStrict);
}

// Ranks compare it, so what computes otherwise must say otherwise.
TEST(MakeCpuBackendTest, TellsTheArithmeticOfProducts) {
  const auto backend =
      MakeCpuBackend({.level = CpuLevel::kPortable, .products = CpuProducts::kInt8});
  ASSERT_TRUE(backend.ok()) << backend.status();
  EXPECT_EQ((*backend)->Arithmetic(), "portable int8");
  const auto bf16 =
      MakeCpuBackend({.level = CpuLevel::kPortable, .products = CpuProducts::kBFloat16});
  ASSERT_TRUE(bf16.ok()) << bf16.status();
  EXPECT_EQ((*bf16)->Arithmetic(), "portable bf16 by multiply and add");
  EXPECT_EQ((*bf16)->Describe(), "cpu portable, 1 thread, products in bf16 by multiply and add");
  EXPECT_EQ((*bf16)->kv_cache_dtype(), KvDType::kBF16);
}

TEST(MakeCpuBackendTest, TellsWhetherAttentionRounds) {
  KernelSet kernels = PortableKernels();
  const AttentionKernels rounding = {};
  kernels.bf16_attention = &rounding;
  const auto arithmetic = [&](CpuProducts products) {
    return (*MakeCpuBackend({.products = products}, kernels))->Arithmetic();
  };
  EXPECT_EQ(arithmetic(CpuProducts::kInt8), "portable int8, attention bf16");
  EXPECT_EQ(arithmetic(CpuProducts::kFloat32), "portable");
}

// The same work on backends of any number of threads.
class CpuThreadsTest : public testing::TestWithParam<CpuLevel> {
 protected:
  void SetUp() override {
    const auto one = MakeCpuBackend({.level = GetParam()});
    if (!one.ok()) GTEST_SKIP() << one.status();
  }
  std::unique_ptr<Backend> WithThreads(int threads) {
    return *MakeCpuBackend({.num_threads = threads, .level = GetParam()});
  }
};

AlignedVector<float> Product(Backend& backend, const RandomLinear& linear, Matrix& x) {
  const auto weights = *backend.PackLinear({linear.source()});
  Matrix out(x.rows(), weights->out_features());
  backend.Linear(*backend.NewStream(), x.tensor(), *weights, {}, out.tensor());
  return out.values();
}

// So that what --cpu_level=avx2 answers is what a better level does.
TEST(CpuLevelsTest, ProductsInFloat32HaveTheBitsOfAvx2) {
  const auto avx2 = MakeCpuBackend({.level = CpuLevel::kAvx2});
  if (!avx2.ok()) GTEST_SKIP() << avx2.status();
  for (const CpuLevel level : {CpuLevel::kAvx2Vnni, CpuLevel::kAvx512Vnni, CpuLevel::kAmx}) {
    const auto better = MakeCpuBackend({.num_threads = 2, .level = level});
    if (!better.ok()) {
      std::printf("%s left out: %s\n", CpuLevelName(level), better.status().ToString().c_str());
      continue;
    }
    for (const DType dtype : kAllDTypes) {
      const int64_t in_features = BlockElements(dtype) == 256 ? 512 : 544;
      for (const int64_t out_features : {1, 8, 13, 24, 70, 300}) {
        const RandomLinear linear(dtype, in_features, out_features, 20);
        for (const int64_t rows : {1, 5, 8, 9, 50}) {
          Matrix x(rows, in_features, 21);
          ASSERT_EQ(Product(**better, linear, x), Product(**avx2, linear, x))
              << CpuLevelName(level) << ", " << DTypeName(dtype) << ", " << rows << " rows of "
              << out_features;
        }
      }
    }
  }
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

INSTANTIATE_TEST_SUITE_P(AllLevels, CpuThreadsTest, testing::ValuesIn(kAllCpuLevels),
                         [](const auto& info) { return std::string(CpuLevelName(info.param)); });

// Where keys and values are not in float32, products are in int8, and attention may round too.
struct AttentionKind {
  CpuLevel level;
  KvDType kv;
};

std::vector<AttentionKind> AllAttentionKinds() {
  std::vector<AttentionKind> all;
  for (const CpuLevel level : kAllCpuLevels) {
    for (const KvDType kv : {KvDType::kF32, KvDType::kBF16, KvDType::kInt8}) {
      all.push_back({level, kv});
    }
  }
  return all;
}

class CpuAttentionTest : public testing::TestWithParam<AttentionKind> {
 protected:
  void SetUp() override {
    const auto one = MakeCpuBackend({.level = GetParam().level});
    if (!one.ok()) GTEST_SKIP() << one.status();
  }
  std::unique_ptr<Backend> WithThreads(int threads) {
    const bool is_exact = GetParam().kv == KvDType::kF32;
    return *MakeCpuBackend({.num_threads = threads,
                            .level = GetParam().level,
                            .products = is_exact ? CpuProducts::kFloat32 : CpuProducts::kInt8,
                            .kv_cache = GetParam().kv});
  }
};

// Attention over two sequences of 40 and 3 tokens.
AlignedVector<float> Attention(Backend& backend) {
  constexpr int kTokens = 43;
  constexpr int kQHeads = 6;
  constexpr int kKvHeads = 2;
  constexpr int kHeadDim = 80;
  StepBuilder step(3);
  step.Add(0, 40, {2, 0, 3});
  step.Add(0, 3, {1});
  const auto cache = *backend.AllocateKvCache({.num_layers = 1,
                                               .num_blocks = 4,
                                               .num_kv_heads = kKvHeads,
                                               .head_dim = kHeadDim,
                                               .dtype = backend.kv_cache_dtype()});
  EXPECT_TRUE(backend
                  .Reserve({.max_tokens = kTokens,
                            .max_seqs = 2,
                            .local_q_heads = kQHeads,
                            .head_dim = kHeadDim,
                            .max_blocks_per_seq = 3})
                  .ok());
  const auto stream = backend.NewStream();
  Matrix cos_sin(kTokens, kHeadDim, 1);
  Matrix qkv(kTokens, (kQHeads + 2 * kKvHeads) * kHeadDim, 2);
  Matrix out(kTokens, kQHeads * kHeadDim);
  backend.RopeAndWriteKv(*stream, step.batch(), cos_sin.tensor(), kQHeads, qkv.tensor(), *cache, 0);
  backend.PagedAttention(*stream, step.batch(), qkv.tensor(), kQHeads, 0.125f, *cache, 0,
                         out.tensor());
  return out.values();
}

TEST_P(CpuAttentionTest, BitsDoNotDependOnTheirNumber) {
  const AlignedVector<float> expected = Attention(*WithThreads(1));
  for (int threads : {2, 5}) EXPECT_EQ(Attention(*WithThreads(threads)), expected);
}

// Keys and values of a sequence of kLongTokens tokens, written in one go.
constexpr int kLongTokens = 2500;
constexpr int kLongBlocks = (kLongTokens + kKvBlockTokens - 1) / kKvBlockTokens;
constexpr int kLongQHeads = 6;
constexpr int kLongKvHeads = 2;
constexpr int kLongHeadDim = 24;

// Attention of the last `count` tokens; with `decodes`, of these tokens one by one, each as a
// sequence of its own with the same blocks.
AlignedVector<float> LongAttention(Backend& backend, int count, bool decodes, KvDType dtype) {
  EXPECT_TRUE(backend
                  .Reserve({.max_tokens = kLongTokens,
                            .max_seqs = count,
                            .local_q_heads = kLongQHeads,
                            .head_dim = kLongHeadDim,
                            .max_blocks_per_seq = kLongBlocks})
                  .ok());
  const auto cache = *backend.AllocateKvCache({.num_layers = 1,
                                               .num_blocks = kLongBlocks,
                                               .num_kv_heads = kLongKvHeads,
                                               .head_dim = kLongHeadDim,
                                               .dtype = dtype});
  std::vector<int32_t> blocks(kLongBlocks);
  for (int i = 0; i < kLongBlocks; ++i) blocks[i] = (i * 7 + 3) % kLongBlocks;
  const auto stream = backend.NewStream();
  Matrix cos_sin(kLongTokens, kLongHeadDim, 1);
  Matrix qkv(kLongTokens, (kLongQHeads + 2 * kLongKvHeads) * kLongHeadDim, 2);
  StepBuilder fill(kLongBlocks);
  fill.Add(0, kLongTokens, blocks);
  backend.RopeAndWriteKv(*stream, fill.batch(), cos_sin.tensor(), kLongQHeads, qkv.tensor(), *cache,
                         0);
  StepBuilder step(kLongBlocks);
  if (decodes) {
    for (int i = 0; i < count; ++i) step.Add(kLongTokens - count + i, 1, blocks);
  } else {
    step.Add(kLongTokens - count, count, blocks);
  }
  Matrix queries = qkv.Rows(kLongTokens - count, count);
  Matrix out(count, kLongQHeads * kLongHeadDim);
  backend.PagedAttention(*stream, step.batch(), queries.tensor(), kLongQHeads, 0.2f, *cache, 0,
                         out.tensor());
  return out.values();
}

// Whether threads share out the segments of a sequence depends on the step; the bits do not.
TEST_P(CpuAttentionTest, BitsOverManyKeysDoNotDependOnTheStep) {
  const auto attention = [&](int threads, int count, bool decodes) {
    return LongAttention(*WithThreads(threads), count, decodes, GetParam().kv);
  };
  const AlignedVector<float> prompt = attention(1, 40, false);
  EXPECT_EQ(attention(3, 40, false), prompt);
  // 80 parts, which are not cut further, and 2, which are.
  EXPECT_EQ(attention(3, 40, true), prompt);
  const AlignedVector<float> last = attention(3, 1, true);
  EXPECT_TRUE(std::equal(last.begin(), last.end(), prompt.end() - last.size()));
  // Tiles of fewer tokens, which read keys in other ways.
  for (const int count : {2, 3, 5}) {
    const AlignedVector<float> few = attention(2, count, false);
    EXPECT_TRUE(std::equal(few.begin(), few.end(), prompt.end() - few.size())) << count;
  }
  const AlignedVector<float> expected =
      LongAttention(*MakeReferenceBackend(), 1, true, GetParam().kv);
  // Values are up to 4 in size. Queries and weights that are rounded to bfloat16 are off by up to
  // 2^-9 of theirs.
  const double bound = GetParam().kv == KvDType::kF32 ? 1e-5 : 0x1p-7;
  for (size_t i = 0; i < last.size(); ++i) EXPECT_NEAR(last[i], expected[i], bound) << i;
}

INSTANTIATE_TEST_SUITE_P(AllKinds, CpuAttentionTest, testing::ValuesIn(AllAttentionKinds()),
                         [](const auto& info) {
                           return std::string(CpuLevelName(info.param.level)) + "_kv_" +
                                  KvDTypeName(info.param.kv);
                         });

}  // namespace
}  // namespace phalanx::kernels
