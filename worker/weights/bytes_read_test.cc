// Each rank reads its own bytes of the file and no others.
#include <cstddef>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/log.h"
#include "gtest/gtest.h"
#include "kernels/reference/reference_backend.h"
#include "model/testing/tiny_model.h"
#include "worker/weights/decoder_weights.h"

namespace phalanx {
namespace {

using kernels::Backend;
using kernels::Buffer;
using kernels::CutKind;
using kernels::DType;
using kernels::KvCache;
using kernels::LinearSize;
using kernels::LinearSource;
using kernels::PackedGatedLinear;
using kernels::PackedLinear;
using kernels::SampleShard;
using kernels::SamplingBatch;
using kernels::StepBatch;
using kernels::Stream;
using kernels::Tensor;
using kernels::WorkspaceLimits;

class NoLinear final : public PackedLinear {
 public:
  int64_t in_features() const override { return 0; }
  int64_t out_features() const override { return 0; }
  size_t bytes() const override { return 0; }
};

class NoGatedLinear final : public PackedGatedLinear {
 public:
  int64_t in_features() const override { return 0; }
  int64_t out_features() const override { return 0; }
  size_t bytes() const override { return 0; }
};

// Notes where rows lie; can do what loading needs, and dies on ops.
class RowRecorder final : public Backend {
 public:
  // First byte and length of every row that was packed.
  const std::map<const std::byte*, size_t>& rows() const { return rows_; }

  int streams() const { return streams_; }

  absl::StatusOr<std::unique_ptr<PackedLinear>> PackLinear(
      absl::Span<const LinearSource> sources) override {
    for (const LinearSource& source : sources) Note(source);
    return std::make_unique<NoLinear>();
  }
  absl::StatusOr<std::unique_ptr<PackedGatedLinear>> PackGatedLinear(
      const LinearSource& gate, const LinearSource& up) override {
    Note(gate);
    Note(up);
    return std::make_unique<NoGatedLinear>();
  }
  std::string Describe() const override { return "row recorder"; }
  std::string Arithmetic() const override { return ""; }
  kernels::Determinism determinism() const override { return kernels::Determinism::kStrict; }
  DType activation_dtype() const override { return DType::kF32; }
  DType residual_dtype() const override { return DType::kF32; }
  std::unique_ptr<Stream> NewStream() override {
    ++streams_;
    return memory_->NewStream();
  }
  absl::StatusOr<std::unique_ptr<Buffer>> Allocate(size_t bytes) override {
    return memory_->Allocate(bytes);
  }
  void CopyToBackend(Stream& stream, void* to, const void* from, size_t bytes) override {
    memory_->CopyToBackend(stream, to, from, bytes);
  }

  absl::StatusOr<std::unique_ptr<KvCache>> AllocateKvCache(const KvCache::Shape&) override {
    return absl::InternalError("not when loading");
  }
  absl::StatusOr<std::unique_ptr<Buffer>> AllocateOnHost(size_t) override {
    return absl::InternalError("not when loading");
  }
  size_t LinearBytes(absl::Span<const LinearSize>) const override { return 0; }
  size_t GatedLinearBytes(const LinearSize&, const LinearSize&) const override { return 0; }
  size_t KvCacheBytes(const KvCache::Shape&) const override { return 0; }
  size_t WorkspaceBytes(const WorkspaceLimits&) const override { return 0; }
  absl::Status Reserve(const WorkspaceLimits&) override {
    return absl::InternalError("not when loading");
  }
  void CopyToHost(Stream&, void*, const void*, size_t) override { Die(); }
  void UpdateBlockTables(Stream&, const StepBatch&) override { Die(); }
  void Embed(Stream&, const StepBatch&, const PackedLinear&, int64_t, Tensor) override { Die(); }
  void RmsNorm(Stream&, Tensor, Tensor, float, Tensor) override { Die(); }
  void AddRmsNorm(Stream&, Tensor, Tensor, Tensor, float, Tensor) override { Die(); }
  void Linear(Stream&, Tensor, const PackedLinear&, Tensor, Tensor) override { Die(); }
  void LinearAdd(Stream&, Tensor, const PackedLinear&, Tensor) override { Die(); }
  void GatedLinear(Stream&, Tensor, const PackedGatedLinear&, Tensor) override { Die(); }
  void RopeAngles(Stream&, const StepBatch&, Tensor, float, Tensor) override { Die(); }
  void RopeAndWriteKv(Stream&, const StepBatch&, Tensor, int, Tensor, KvCache&, int) override {
    Die();
  }
  void PagedAttention(Stream&, const StepBatch&, Tensor, int, float, const KvCache&, int,
                      Tensor) override {
    Die();
  }
  void GatherRows(Stream&, const int32_t*, Tensor, Tensor) override { Die(); }
  void Sample(Stream&, const SamplingBatch&, Tensor, int32_t*) override { Die(); }
  void StoreLastTokens(Stream&, const SamplingBatch&, const int32_t*, int32_t*) override { Die(); }
  void TokenLogProbs(Stream&, Tensor, const int32_t*, float*) override { Die(); }
  void RowMaxima(Stream&, Tensor, int64_t, uint64_t*) override { Die(); }
  void CutSums(Stream&, const SamplingBatch&, Tensor, const SampleShard&, CutKind, int) override {
    Die();
  }
  void NarrowCut(Stream&, const SamplingBatch&, Tensor, const SampleShard&, CutKind, int) override {
    Die();
  }
  void AdjustLogits(Stream&, const SamplingBatch&, Tensor, int64_t) override { Die(); }
  void TypicalSums(Stream&, const SamplingBatch&, Tensor, const SampleShard&) override { Die(); }
  void TopLogits(Stream&, Tensor, int64_t, int, uint64_t*) override { Die(); }
  void KeptWeights(Stream&, const SamplingBatch&, Tensor, const SampleShard&) override { Die(); }
  void DrawTokens(Stream&, const SamplingBatch&, Tensor, const SampleShard&) override { Die(); }
  void TakeTokens(Stream&, int64_t, const uint64_t*, int32_t*) override { Die(); }
  void LogProbTerms(Stream&, Tensor, int64_t, const int32_t*, const uint64_t*, uint64_t*) override {
    Die();
  }
  void CombineLogProbs(Stream&, int64_t, const uint64_t*, const uint64_t*, float*) override {
    Die();
  }

 private:
  void Note(const LinearSource& source) {
    for (const std::byte* row : source.rows) {
      EXPECT_TRUE(rows_.emplace(row, kernels::RowBytes(source.dtype, source.in_features)).second)
          << "a row is read twice";
    }
  }
  static void Die() { CHECK(false) << "an op while loading"; }

  const std::unique_ptr<Backend> memory_ = kernels::MakeReferenceBackend();
  std::map<const std::byte*, size_t> rows_;
  int streams_ = 0;
};

class BytesReadTest : public testing::TestWithParam<int> {};

TEST_P(BytesReadTest, RanksShareOutTheBytesOfAllMatrices) {
  const int world = GetParam();
  const auto checkpoint = Checkpoint::Open(WriteTinyModel("bytes.gguf", {.untied_output = true}));
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  const ModelSpec& spec = (*checkpoint)->spec();

  std::set<const std::byte*> read;
  for (int rank = 0; rank < world; ++rank) {
    RowRecorder recorder;
    const Shard shard = *ShardModel(spec, rank, world);
    const auto weights = LoadDecoderWeights(**checkpoint, spec, shard, recorder);
    ASSERT_TRUE(weights.ok()) << weights.status();
    EXPECT_EQ(recorder.streams(), 1) << "one for all vectors";
    size_t bytes = 0;
    for (const auto& [row, length] : recorder.rows()) {
      bytes += length;
      for (size_t i = 0; i < length; ++i) {
        ASSERT_TRUE(read.insert(row + i).second) << "byte " << i << " of a row was read before";
      }
    }
    EXPECT_GT(bytes, 0u);
  }

  std::set<const std::byte*> matrices;
  for (const TensorView& tensor : (*checkpoint)->tensors()) {
    if (tensor.rows == 1) continue;
    for (const std::byte& byte : tensor.data) matrices.insert(&byte);
  }
  EXPECT_EQ(read.size(), matrices.size());
  EXPECT_TRUE(read == matrices);
}

INSTANTIATE_TEST_SUITE_P(Worlds, BytesReadTest, testing::Values(1, 2, 3));

}  // namespace
}  // namespace phalanx
