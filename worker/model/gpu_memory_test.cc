// model/sharding/gpu_memory.h tells what the CUDA backend really allocates.
#include "model/sharding/gpu_memory.h"

#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cuda/attention.h"
#include "kernels/cuda/cuda_backend.h"
#include "model/sharding/weight_plan.h"
#include "model/testing/tiny_hf_model.h"
#include "model/testing/tiny_model.h"
#include "worker/model/activations.h"
#include "worker/weights/weight_bytes.h"

namespace phalanx {
namespace {

class GpuMemoryTest : public testing::Test {
 protected:
  // What the backend says that it will allocate; its own tests compare that with what it does.
  void ExpectAsTheBackend(const std::string& path, int world) {
    SCOPED_TRACE(testing::Message() << path << " over " << world);
    const auto checkpoint = Checkpoint::Open(path);
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    const ModelSpec& spec = (*checkpoint)->spec();
    for (int rank = 0; rank < world; ++rank) {
      const Shard shard = *ShardModel(spec, rank, world);
      const auto plan = PlanWeights(**checkpoint, spec, shard);
      ASSERT_TRUE(plan.ok()) << plan.status();
      EXPECT_EQ(GpuWeightBytes(*plan), static_cast<int64_t>(WeightBytes(*plan, *backend_)));
    }
  }

  const std::unique_ptr<kernels::Backend> backend_ = *kernels::MakeCudaBackend({});
};

TEST_F(GpuMemoryTest, WeightsOfQuantizedFiles) {
  const std::string path = WriteTinyModel("memory.gguf", {.untied_output = true});
  for (int world = 1; world <= 3; ++world) ExpectAsTheBackend(path, world);
}

TEST_F(GpuMemoryTest, ColumnsCutInsideABlock) {
  ExpectAsTheBackend(
      WriteTinyModel("cut.gguf", {.num_q_heads = 4, .num_kv_heads = 4, .head_dim = 16}), 4);
}

TEST_F(GpuMemoryTest, FusedAndBiasedProjections) {
  for (const char* const architecture : {"llama", "phi3", "qwen2"}) {
    const std::string path =
        WriteTinyHfModel(architecture, {.architecture = architecture, .tied_embeddings = false});
    for (int world = 1; world <= 2; ++world) ExpectAsTheBackend(path, world);
  }
}

TEST_F(GpuMemoryTest, EveryTypeTakesSoManyBytes) {
  // Rows that fill no whole tile, and columns of floats that fill no whole piece of 16 bytes.
  constexpr int kRows = 11;
  for (const TensorType type : kTensorTypes) {
    const int cols = TensorBlockElements(type) == 1 ? 513 : 512;
    const kernels::DType dtype = DTypeOf(type);
    const std::string row(kernels::RowBytes(dtype, cols), '\0');
    const auto packed = backend_->PackLinear(
        {{dtype, cols,
          std::vector<const std::byte*>(kRows, reinterpret_cast<const std::byte*>(row.data()))}});
    ASSERT_TRUE(packed.ok()) << packed.status();
    const TensorView tensor{
        .name = "matrix", .type = type, .rows = kRows, .cols = cols, .data = {}};
    WeightPlan plan;
    plan.embedding = {.tensor = &tensor, .num_rows = kRows, .cols = {0, cols}, .kept_type = type};
    EXPECT_EQ(GpuWeightBytes(plan), static_cast<int64_t>((*packed)->bytes()))
        << TensorTypeName(type);
  }
}

TEST_F(GpuMemoryTest, KvCache) {
  static_assert(kGpuKvBlockTokens == kernels::kKvBlockTokens);
  static_assert(kGpuMaxHeadDim == kernels::cuda::kMaxHeadDim);
  EXPECT_STREQ(kernels::KvDTypeName(backend_->kv_cache_dtype()), KvTypeName(kGpuKvType));
  for (const int head_dim : {6, 16, 64}) {
    for (size_t i = 0; i < std::size(kAllKvTypes); ++i) {
      const KvType type = kAllKvTypes[i];
      const kernels::KvDType dtype = kernels::kAllKvDTypes[i];
      EXPECT_STREQ(KvTypeName(type), kernels::KvDTypeName(dtype));
      ModelSpec spec;
      spec.num_layers = 3;
      spec.head_dim = head_dim;
      const auto cache = backend_->AllocateKvCache({.num_layers = 3,
                                                    .num_blocks = 5,
                                                    .num_kv_heads = 2,
                                                    .head_dim = head_dim,
                                                    .dtype = dtype});
      ASSERT_TRUE(cache.ok()) << cache.status();
      const auto bytes = static_cast<int64_t>((*cache)->bytes());
      EXPECT_EQ(GpuKvBytesPerToken(spec, 2, type) * 5 * kGpuKvBlockTokens, bytes) << head_dim;
      // One block is no sequence's.
      EXPECT_EQ(GpuKvCacheTokens(spec, 2, type, bytes), 4 * kGpuKvBlockTokens);
      EXPECT_EQ(GpuKvCacheTokens(spec, 2, type, bytes - 1), 3 * kGpuKvBlockTokens);
      EXPECT_EQ(GpuKvCacheTokens(spec, 2, type, -5), 0);
    }
  }
}

TEST_F(GpuMemoryTest, ActivationsAndWorkspace) {
  ModelSpec spec;
  spec.num_layers = 3;
  spec.hidden = 3072;
  spec.num_q_heads = 24;
  spec.num_kv_heads = 8;
  spec.head_dim = 128;
  spec.rotary_dim = 96;
  spec.ffn = 8192;
  spec.vocab = 200064;
  for (const int context_tokens : {200, 4100, 131072}) {
    spec.context_tokens = context_tokens;
    for (const int world : {1, 3}) {
      const Shard shard = *ShardModel(spec, /*rank=*/0, world);
      const GpuStepLimits limits = {.max_seqs = 50, .max_step_tokens = 300};
      const StepLimits step = {.max_step_tokens = limits.max_step_tokens,
                               .max_seqs = limits.max_seqs,
                               .max_blocks_per_seq = (context_tokens + 15) / 16,
                               .kv_blocks = 1};
      const auto workspace = static_cast<int64_t>(
          backend_->WorkspaceBytes({.max_tokens = step.max_step_tokens,
                                    .max_seqs = step.max_seqs,
                                    .hidden = spec.hidden,
                                    .local_q_heads = shard.q_heads.size(),
                                    .head_dim = spec.head_dim,
                                    .local_ffn = shard.ffn.size(),
                                    .local_vocab = shard.vocab.size(),
                                    .max_blocks_per_seq = step.max_blocks_per_seq}));
      EXPECT_EQ(GpuWorkspaceBytes(spec, shard, limits), workspace);
      const auto activations =
          static_cast<int64_t>(ActivationBytes(spec, shard, step, *backend_)) - workspace;
      // What is left out describes the step: about 40 bytes a token and 60 a sequence.
      const int64_t left_out = activations - GpuActivationBytes(spec, shard, limits);
      EXPECT_GT(left_out, 0);
      EXPECT_LT(left_out, 16 << 10) << context_tokens << " tokens over " << world;
      EXPECT_EQ(GpuReservedBytes(shard), kGpuContextBytes + (world > 1 ? kGpuNcclBytes : 0));
    }
  }
}

TEST(SequencesThatFitTest, TakeWholeBlocks) {
  EXPECT_EQ(SequencesThatFit(1600, 16), 100);
  EXPECT_EQ(SequencesThatFit(1600, 17), 50);
  EXPECT_EQ(SequencesThatFit(1599, 1600), 0);
}

}  // namespace
}  // namespace phalanx
