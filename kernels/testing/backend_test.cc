// What every backend does beside its ops, and what it does to callers that break the contract.
#include <algorithm>
#include <array>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/testing/op_suite.h"

namespace phalanx::kernels {
namespace {

PHALANX_ON_ALL_BACKENDS(BackendTest);

TEST_P(BackendTest, AllocatesAlignedZerosAndCopies) {
  auto buffer = backend_->Allocate(100);
  ASSERT_TRUE(buffer.ok()) << buffer.status();
  EXPECT_EQ(reinterpret_cast<uintptr_t>((*buffer)->data()) % kTensorAlignment, 0u);
  const std::vector<float> from = {1, 2, 3};
  std::vector<float> to(4, -1);
  backend_->CopyToBackend(*stream_, (*buffer)->data(), from.data(), 12);
  backend_->CopyToHost(*stream_, to.data(), (*buffer)->data(), 16);
  EXPECT_TRUE(stream_->Synchronize().ok());
  EXPECT_EQ(to, (std::vector<float>{1, 2, 3, 0}));
}

TEST_P(BackendTest, AnAbortedStreamStaysAborted) {
  EXPECT_TRUE(stream_->Synchronize(absl::Minutes(1)).ok());
  const std::unique_ptr<Stream> other = backend_->NewStream();
  std::thread([this] { stream_->Abort(); }).join();
  EXPECT_EQ(stream_->Synchronize(absl::Minutes(1)).code(), absl::StatusCode::kAborted);
  stream_->Abort();
  EXPECT_EQ(stream_->Synchronize().code(), absl::StatusCode::kAborted);
  EXPECT_TRUE(other->Synchronize().ok());
}

TEST_P(BackendTest, RefusesWhatIsNoLayer) {
  EXPECT_EQ(backend_->PackLinear({}).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_P(BackendTest, TellsBytesBeforeItTakesThem) {
  const RandomLinear first(DType::kQ4_1, 64, 11, 1);
  const RandomLinear second(DType::kQ4_1, 64, 6, 2);
  const RandomLinear third(DType::kF16, 64, 9, 3);
  const LinearSize sizes[] = {{DType::kQ4_1, 64, 11}, {DType::kQ4_1, 64, 6}, {DType::kF16, 64, 9}};
  EXPECT_EQ(backend_->LinearBytes(sizes),
            (*backend_->PackLinear({first.source(), second.source(), third.source()}))->bytes());
  const RandomLinear up(DType::kF16, 64, 11, 4);
  EXPECT_EQ(backend_->GatedLinearBytes({DType::kQ4_1, 64, 11}, {DType::kF16, 64, 11}),
            (*backend_->PackGatedLinear(first.source(), up.source()))->bytes());
  for (const KvDType dtype : GetParam().kv_dtypes) {
    const KvCache::Shape shape = {
        .num_layers = 3, .num_blocks = 5, .num_kv_heads = 2, .head_dim = 6, .dtype = dtype};
    EXPECT_EQ(backend_->KvCacheBytes(shape), (*backend_->AllocateKvCache(shape))->bytes());
  }
}

TEST_P(BackendTest, TakesCachesOfItsTypesAndRefusesTheOthersByName) {
  for (const KvDType dtype : kAllKvDTypes) {
    const auto cache = backend_->AllocateKvCache(
        {.num_layers = 1, .num_blocks = 1, .num_kv_heads = 1, .head_dim = 2, .dtype = dtype});
    const std::vector<KvDType>& taken = GetParam().kv_dtypes;
    if (std::find(taken.begin(), taken.end(), dtype) != taken.end()) {
      ASSERT_TRUE(cache.ok()) << cache.status();
      EXPECT_EQ((*cache)->shape().dtype, dtype);
      continue;
    }
    EXPECT_EQ(cache.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_NE(cache.status().message().find(KvDTypeName(dtype)), std::string::npos);
    for (const KvDType possible : taken) {
      EXPECT_NE(cache.status().message().find(KvDTypeName(possible)), std::string::npos)
          << cache.status();
    }
  }
}

TEST_P(BackendTest, TellsTheWorkspaceAndRefusesOneThatIsTooLarge) {
  const WorkspaceLimits huge = {
      .max_tokens = int64_t{1} << 30, .hidden = int64_t{1} << 28, .local_ffn = int64_t{1} << 28};
  // The reference takes none.
  if (backend_->WorkspaceBytes(huge) == 0) return;
  const absl::Status status = backend_->Reserve(huge);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_NE(status.message().find(std::to_string(backend_->WorkspaceBytes(huge))),
            std::string::npos)
      << status;
  EXPECT_LT(backend_->WorkspaceBytes({.max_tokens = 1, .hidden = 8, .local_ffn = 8}),
            backend_->WorkspaceBytes({.max_tokens = 2, .hidden = 8, .local_ffn = 8}));
}

TEST_P(BackendTest, AnOpBeyondTheReservedLimitsEndsTheProcess) {
  const WorkspaceLimits limits = {.max_tokens = 2, .hidden = 64, .local_ffn = 64};
  ASSERT_TRUE(backend_->Reserve(limits).ok());
  if (backend_->WorkspaceBytes(limits) == 0) return;
  const auto packed = Pack(*backend_, RandomLinear(DType::kF32, 32, 64, 1));
  Matrix x(3, 32, 2);
  Matrix residual(3, 64);
  Matrix two = x.Rows(0, 2);
  backend_->LinearAdd(*stream_, two.tensor(), *packed, residual.tensor());
  EXPECT_DEATH(backend_->LinearAdd(*stream_, x.tensor(), *packed, residual.tensor()),
               "LinearAdd: takes 768 bytes of workspace, but 512 are reserved");
}

TEST_P(BackendTest, MoreRowsOfLogitsThanWereReservedForEndTheProcess) {
  const WorkspaceLimits limits = {.max_tokens = 2, .max_seqs = 2, .hidden = 64, .local_ffn = 64};
  ASSERT_TRUE(backend_->Reserve(limits).ok());
  if (backend_->WorkspaceBytes(limits) == 0) return;
  Matrix logits(3, 50, 2);
  Matrix two = logits.Rows(0, 2);
  const std::vector<int32_t> targets(3);
  std::vector<float> log_probs(3);
  backend_->TokenLogProbs(*stream_, two.tensor(), targets.data(), log_probs.data());
  EXPECT_DEATH(backend_->TokenLogProbs(*stream_, logits.tensor(), targets.data(), log_probs.data()),
               "TokenLogProbs: ");
}

using Tensors = std::array<Tensor, 5>;

// Calls `op` with no rows and the given tensors; returns how many of them it takes.
int Call(Op op, Backend& backend, const Tensors& t) {
  const std::unique_ptr<Stream> stream = backend.NewStream();
  const StepBatch batch;
  const SamplingBatch sampling;
  const RandomLinear weights(DType::kF32, 1, 1, 1);
  const auto linear = Pack(backend, weights);
  const auto gated = *backend.PackGatedLinear(weights.source(), weights.source());
  const auto cache = *backend.AllocateKvCache(
      {.num_layers = 1, .num_blocks = 1, .num_kv_heads = 1, .head_dim = 2});
  switch (op) {
    case Op::kUpdateBlockTables:
      backend.UpdateBlockTables(*stream, batch);
      return 0;
    case Op::kEmbed:
      backend.Embed(*stream, batch, *linear, 0, t[0]);
      return 1;
    case Op::kRmsNorm:
      backend.RmsNorm(*stream, t[0], t[1], 0.0f, t[2]);
      return 3;
    case Op::kAddRmsNorm:
      backend.AddRmsNorm(*stream, t[0], t[1], t[2], 0.0f, t[3]);
      return 4;
    case Op::kLinear:
      backend.Linear(*stream, t[0], *linear, t[1], t[2]);
      return 3;
    case Op::kLinearAdd:
      backend.LinearAdd(*stream, t[0], *linear, t[1]);
      return 2;
    case Op::kGatedLinear:
      backend.GatedLinear(*stream, t[0], *gated, t[1]);
      return 2;
    case Op::kNormLinear:
      backend.NormLinear(*stream, t[0], t[1], 0.0f, t[2], *linear, t[3], t[4]);
      return 5;
    case Op::kNormGatedLinear:
      backend.NormGatedLinear(*stream, t[0], t[1], 0.0f, t[2], *gated, t[3]);
      return 4;
    case Op::kRopeAngles:
      backend.RopeAngles(*stream, batch, t[0], 1.0f, t[1]);
      return 2;
    case Op::kRopeAndWriteKv:
      backend.RopeAndWriteKv(*stream, batch, t[0], 1, t[1], *cache, 0);
      return 2;
    case Op::kPagedAttention:
      backend.PagedAttention(*stream, batch, t[0], 1, 1.0f, *cache, 0, t[1]);
      return 2;
    case Op::kRopeAttention:
      backend.RopeAttention(*stream, batch, t[0], 1, t[1], 1.0f, *cache, 0, t[2]);
      return 3;
    case Op::kGatherRows:
      backend.GatherRows(*stream, nullptr, t[0], t[1]);
      return 2;
    case Op::kAdjustLogits:
      backend.AdjustLogits(*stream, sampling, t[0], 0);
      return 1;
    case Op::kSample:
      backend.Sample(*stream, sampling, t[0], nullptr);
      return 1;
    case Op::kStoreLastTokens:
      backend.StoreLastTokens(*stream, sampling, nullptr, nullptr);
      return 0;
    case Op::kTokenLogProbs:
      backend.TokenLogProbs(*stream, t[0], nullptr, nullptr);
      return 1;
    case Op::kRowMaxima:
      backend.RowMaxima(*stream, t[0], 0, nullptr);
      return 1;
    case Op::kCutSums:
      backend.CutSums(*stream, sampling, t[0], {}, CutKind::kTopK, 0);
      return 1;
    case Op::kNarrowCut:
      backend.NarrowCut(*stream, sampling, t[0], {}, CutKind::kTopK, 0);
      return 1;
    case Op::kTypicalSums:
      backend.TypicalSums(*stream, sampling, t[0], {});
      return 1;
    case Op::kKeptWeights:
      backend.KeptWeights(*stream, sampling, t[0], {});
      return 1;
    case Op::kDrawTokens:
      backend.DrawTokens(*stream, sampling, t[0], {});
      return 1;
    case Op::kTakeTokens:
      backend.TakeTokens(*stream, 0, nullptr, nullptr);
      return 0;
    case Op::kLogProbTerms:
      backend.LogProbTerms(*stream, t[0], 0, nullptr, nullptr, nullptr);
      return 1;
    case Op::kCombineLogProbs:
      backend.CombineLogProbs(*stream, 0, nullptr, nullptr, nullptr);
      return 0;
    case Op::kTopLogits:
      backend.TopLogits(*stream, t[0], 0, 0, nullptr);
      return 1;
  }
  return -1;
}

TEST_P(BackendTest, EveryOpEndsTheProcessForATensorThatIsNotAligned) {
  AlignedVector<float> memory(2);
  const Tensor aligned = {memory.data(), DType::kF32, 0, 1};
  const Tensor shifted = {memory.data() + 1, DType::kF32, 0, 1};
  for (const Op op : kAllOps) {
    Tensors good;
    good.fill(aligned);
    const int tensors = Call(op, *backend_, good);
    ASSERT_GE(tensors, 0) << OpName(op);
    for (int i = 0; i < tensors; ++i) {
      Tensors bad = good;
      bad[i] = shifted;
      EXPECT_DEATH(Call(op, *backend_, bad), std::string(OpName(op)) + ": .* not aligned to 64");
    }
  }
}

}  // namespace
}  // namespace phalanx::kernels
