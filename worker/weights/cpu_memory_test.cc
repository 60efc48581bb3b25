// model/sharding/cpu_memory.h tells what the CPU backend really allocates, and so does the backend
// itself.
#include "model/sharding/cpu_memory.h"

#include <memory>
#include <string>

#include "gtest/gtest.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/reference/reference_backend.h"
#include "model/sharding/weight_plan.h"
#include "model/testing/tiny_hf_model.h"
#include "model/testing/tiny_model.h"
#include "worker/weights/decoder_weights.h"
#include "worker/weights/weight_bytes.h"

namespace phalanx {
namespace {

class CpuMemoryTest : public testing::Test {
 protected:
  void ExpectAsLoaded(const std::string& path, int world) {
    SCOPED_TRACE(testing::Message() << path << " over " << world);
    const auto checkpoint = Checkpoint::Open(path);
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    const ModelSpec& spec = (*checkpoint)->spec();
    for (int rank = 0; rank < world; ++rank) {
      const Shard shard = *ShardModel(spec, rank, world);
      const auto plan = PlanWeights(**checkpoint, spec, shard);
      ASSERT_TRUE(plan.ok()) << plan.status();
      const auto weights = LoadDecoderWeights(**checkpoint, spec, shard, *backend_);
      ASSERT_TRUE(weights.ok()) << weights.status();
      EXPECT_EQ(CpuWeightBytes(*plan), static_cast<int64_t>(weights->bytes));
      EXPECT_EQ(WeightBytes(*plan, *backend_), weights->bytes);
      const auto reference_weights = LoadDecoderWeights(**checkpoint, spec, shard, *reference_);
      ASSERT_TRUE(reference_weights.ok()) << reference_weights.status();
      EXPECT_EQ(WeightBytes(*plan, *reference_), reference_weights->bytes);
    }
  }

  const std::unique_ptr<kernels::Backend> backend_ =
      *kernels::MakeCpuBackend({.products = kernels::CpuProducts::kInt8});
  const std::unique_ptr<kernels::Backend> reference_ = kernels::MakeReferenceBackend();
};

TEST_F(CpuMemoryTest, WeightsOfQuantizedFiles) {
  const std::string path = WriteTinyModel("memory.gguf", {.untied_output = true});
  for (int world = 1; world <= 3; ++world) ExpectAsLoaded(path, world);
}

TEST_F(CpuMemoryTest, ColumnsCutInsideABlock) {
  ExpectAsLoaded(WriteTinyModel("cut.gguf", {.num_q_heads = 4, .num_kv_heads = 4, .head_dim = 16}),
                 4);
}

TEST_F(CpuMemoryTest, FusedAndBiasedProjections) {
  for (const char* const architecture : {"llama", "phi3", "qwen2"}) {
    const std::string path =
        WriteTinyHfModel(architecture, {.architecture = architecture, .tied_embeddings = false});
    for (int world = 1; world <= 2; ++world) ExpectAsLoaded(path, world);
  }
}

// A model of one matrix.
TEST_F(CpuMemoryTest, EveryTypeIsPackedIntoSoManyBytes) {
  constexpr int kCols = 512;
  constexpr int kRows = 11;
  for (const TensorType type : kTensorTypes) {
    const auto dtype = [&] {
      for (const kernels::DType candidate : kernels::kAllDTypes) {
        if (TensorTypeName(type) == kernels::DTypeName(candidate)) return candidate;
      }
      ADD_FAILURE() << "no kernel for " << TensorTypeName(type);
      return kernels::DType::kF32;
    }();
    EXPECT_EQ(TensorBlockElements(type), kernels::BlockElements(dtype)) << TensorTypeName(type);
    const std::string row(kernels::RowBytes(dtype, kCols), '\0');
    const auto packed = backend_->PackLinear(
        {{dtype, kCols,
          std::vector<const std::byte*>(kRows, reinterpret_cast<const std::byte*>(row.data()))}});
    ASSERT_TRUE(packed.ok()) << packed.status();

    const TensorView tensor{
        .name = "matrix", .type = type, .rows = kRows, .cols = kCols, .data = {}};
    WeightPlan plan;
    plan.embedding = {.tensor = &tensor, .num_rows = kRows, .cols = {0, kCols}, .kept_type = type};
    EXPECT_EQ(CpuWeightBytes(plan), static_cast<int64_t>((*packed)->bytes()))
        << TensorTypeName(type);
    EXPECT_EQ(DTypeOf(type), dtype);
  }
}

TEST_F(CpuMemoryTest, KvCache) {
  static_assert(kCpuKvBlockTokens == kernels::kKvBlockTokens);
  EXPECT_STREQ(kernels::KvDTypeName(backend_->kv_cache_dtype()), KvTypeName(kCpuKvType));
  for (const int head_dim : {6, 16, 64}) {
    for (const auto& [type, dtype] : {std::pair(KvType::kF32, kernels::KvDType::kF32),
                                      std::pair(KvType::kBF16, kernels::KvDType::kBF16),
                                      std::pair(KvType::kInt8, kernels::KvDType::kInt8)}) {
      ModelSpec spec;
      spec.num_layers = 3;
      spec.head_dim = head_dim;
      const auto cache = backend_->AllocateKvCache({.num_layers = 3,
                                                    .num_blocks = 5,
                                                    .num_kv_heads = 2,
                                                    .head_dim = head_dim,
                                                    .dtype = dtype});
      ASSERT_TRUE(cache.ok()) << cache.status();
      EXPECT_EQ(CpuKvBytesPerToken(spec, 2, type) * 5 * kernels::kKvBlockTokens,
                static_cast<int64_t>((*cache)->bytes()))
          << head_dim << " " << KvTypeName(type);
    }
  }
}

TEST(LongestContextTest, IsInWholeBlocksAndAtMostTheModels) {
  ModelSpec spec;
  spec.num_layers = 2;
  spec.head_dim = 8;
  spec.context_tokens = 100;
  constexpr KvType kType = KvType::kF32;
  const int64_t block = 16 * CpuKvBytesPerToken(spec, 1, kType);
  EXPECT_EQ(CpuKvBytesPerToken(spec, 1, kType), 2 * 2 * 8 * 4);
  EXPECT_EQ(CpuKvBytesPerToken(spec, 1, KvType::kInt8), 2 * 2 * (8 + 4));
  EXPECT_EQ(LongestContextTokens(spec, 1, kType, -5), 0);
  EXPECT_EQ(LongestContextTokens(spec, 1, kType, block - 1), 0);
  EXPECT_EQ(LongestContextTokens(spec, 1, kType, 2 * block + 1), 32);
  EXPECT_EQ(LongestContextTokens(spec, 2, kType, 2 * block + 1), 16);
  EXPECT_EQ(LongestContextTokens(spec, 1, kType, 100 * block), 100);
}

}  // namespace
}  // namespace phalanx
