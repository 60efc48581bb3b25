#include "kernels/cpu/cpu_backend.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "kernels/check_tensors.h"
#include "kernels/cpu/bf16_format.h"
#include "kernels/cpu/cpu_facts.h"
#include "kernels/cpu/cpu_level.h"
#include "kernels/cpu/float_format.h"
#include "kernels/cpu/int8_format.h"
#include "kernels/cpu/kernel_set.h"
#include "kernels/cpu/kv_arena.h"
#include "kernels/cpu/packed_linear.h"
#include "kernels/cpu/paged_attention.h"
#include "kernels/cpu/product_runner.h"
#include "kernels/cpu/rope.h"
#include "kernels/cpu/sharded_sampling.h"
#include "kernels/cpu/thread_team.h"
#include "kernels/cpu/weight_arena.h"
#include "kernels/host_memory.h"

namespace phalanx::kernels {
namespace {

KvDType KvDTypeOf(const CpuOptions& options) {
  const bool is_exact = options.products == CpuProducts::kFloat32;
  return options.kv_cache.value_or(is_exact ? KvDType::kF32 : KvDType::kBF16);
}

// Ops ignore their stream, because they are done when they return. Weights and caches that they are
// given come from this backend, hence the casts to its own types.
class CpuBackend : public Backend {
 public:
  // `note` is of ChosenCpuLevel.
  CpuBackend(const CpuOptions& options, const KernelSet& kernels, absl::string_view note)
      : kernels_(kernels),
        note_(note.empty() ? "" : absl::StrCat(" (", note, ")")),
        products_(options.products),
        kv_cache_dtype_(KvDTypeOf(options)),
        float_format_(kernels.linear),
        int8_format_(kernels.int8),
        bf16_format_(kernels.bf16),
        formats_(FormatsFor(options.products)),
        calling_cpus_(options.cpus.empty() ? std::vector<int>() : options.cpus.front()),
        team_(options.num_threads, options.cpus),
        product_runner_(kernels, formats_.quantized, &team_),
        sampling_(&team_, kernels.logits) {}

  std::string Describe() const override {
    const int n = team_.num_threads();
    return absl::StrCat("cpu ", kernels_.name, note_, ", ", n, n == 1 ? " thread" : " threads",
                        ProductsText(), rounds_attention() ? ", attention in bf16" : "");
  }
  std::string Arithmetic() const override {
    const char* const attention = rounds_attention() ? ", attention bf16" : "";
    switch (products_) {
      case CpuProducts::kFloat32:
        return kernels_.name;
      case CpuProducts::kInt8:
        return absl::StrCat(kernels_.name, " int8", attention);
      case CpuProducts::kBFloat16:
        return absl::StrCat(kernels_.name, " bf16 by ", kernels_.bf16.sums_by, attention);
    }
    return "";
  }
  Determinism determinism() const override { return Determinism::kStrict; }
  DType activation_dtype() const override { return DType::kF32; }
  DType residual_dtype() const override { return DType::kF32; }
  KvDType kv_cache_dtype() const override { return kv_cache_dtype_; }

  absl::Span<const int> calling_cpus() const override { return calling_cpus_; }

  std::unique_ptr<Stream> NewStream() override { return std::make_unique<HostStream>(); }

  absl::StatusOr<std::unique_ptr<Buffer>> Allocate(size_t bytes) override {
    return HostBuffer::Create(bytes);
  }
  absl::StatusOr<std::unique_ptr<Buffer>> AllocateOnHost(size_t bytes) override {
    return HostBuffer::Create(bytes);
  }

  absl::StatusOr<std::unique_ptr<PackedLinear>> PackLinear(
      absl::Span<const LinearSource> sources) override {
    return CpuLinear::Create(sources, formats_, arena_, team_);
  }

  absl::StatusOr<std::unique_ptr<PackedGatedLinear>> PackGatedLinear(
      const LinearSource& gate, const LinearSource& up) override {
    return CpuGatedLinear::Create(gate, up, formats_, arena_, team_);
  }

  size_t LinearBytes(absl::Span<const LinearSize> sources) const override {
    return CpuLinear::Bytes(sources, formats_);
  }
  size_t GatedLinearBytes(const LinearSize& gate, const LinearSize& up) const override {
    return CpuLinear::BytesApart({gate, up}, formats_);
  }
  size_t KvCacheBytes(const KvCache::Shape& shape) const override { return KvArena::Bytes(shape); }
  size_t WorkspaceBytes(const WorkspaceLimits& limits) const override {
    return AttentionBytes(limits) + RoundUp(SamplingWordsBytes(limits.max_seqs)) +
           product_runner_.ScratchBytes(limits);
  }

  absl::Status Reserve(const WorkspaceLimits& limits) override {
    absl::StatusOr<std::unique_ptr<HostBuffer>> buffer = HostBuffer::Create(WorkspaceBytes(limits));
    if (!buffer.ok()) return buffer.status();
    workspace_ = *std::move(buffer);
    auto* at = static_cast<std::byte*>(workspace_->data());
    // They never run at once.
    auto* const attention_memory = reinterpret_cast<float*>(at);
    attention_.emplace(Float32Attention(kernels_.attention), limits, attention_memory, &team_);
    if (rounds_attention()) {
      rounding_attention_.emplace(*kernels_.bf16_attention, limits, attention_memory, &team_);
    }
    at += AttentionBytes(limits);
    sampling_words_ = PlaceSamplingWords(at, limits.max_seqs);
    sampling_rows_ = limits.max_seqs;
    at += RoundUp(SamplingWordsBytes(limits.max_seqs));
    product_runner_.Reserve(limits, at);
    return absl::OkStatus();
  }

  absl::StatusOr<std::unique_ptr<KvCache>> AllocateKvCache(const KvCache::Shape& shape) override {
    return KvArena::Create(shape, team_);
  }

  void CopyToBackend(Stream& stream, void* to, const void* from, size_t bytes) override {
    std::memcpy(to, from, bytes);
  }
  void CopyToHost(Stream& stream, void* to, const void* from, size_t bytes) override {
    std::memcpy(to, from, bytes);
  }

  void UpdateBlockTables(Stream& stream, const StepBatch& batch) override {
    ApplyTableEntries(batch);
  }

  void Embed(Stream& stream, const StepBatch& batch, const PackedLinear& table, int64_t first_row,
             Tensor out) override {
    CheckTensors(Op::kEmbed, {out});
    const auto& weights = static_cast<const CpuLinear&>(table);
    team_.ForEachRow(batch.num_tokens, out.cols, [&](int64_t t) {
      const int64_t row = TokenId(batch, t) - first_row;
      float* to = out.f32() + t * out.cols;
      if (row >= 0 && row < weights.out_features()) {
        weights.UnpackOutput(row, to);
      } else {
        std::fill_n(to, out.cols, 0.0f);
      }
    });
  }

  void RmsNorm(Stream& stream, Tensor x, Tensor weight, float eps, Tensor out) override {
    CheckTensors(Op::kRmsNorm, {x, weight, out});
    team_.ForEachRow(x.rows, x.cols, [&](int64_t i) {
      kernels_.rms_norm(x.f32() + i * x.cols, weight.f32(), eps, x.cols, out.f32() + i * x.cols);
    });
  }

  void AddRmsNorm(Stream& stream, Tensor residual, Tensor delta, Tensor weight, float eps,
                  Tensor out) override {
    CheckTensors(Op::kAddRmsNorm, {residual, delta, weight, out});
    const int64_t n = residual.cols;
    team_.ForEachRow(residual.rows, n, [&](int64_t i) {
      float* row = residual.f32() + i * n;
      kernels_.add(delta.f32() + i * n, n, row);
      kernels_.rms_norm(row, weight.f32(), eps, n, out.f32() + i * n);
    });
  }

  void Linear(Stream& stream, Tensor x, const PackedLinear& w, Tensor bias, Tensor out) override {
    CheckTensors(Op::kLinear, {x, bias, out});
    product_runner_.Linear(x, static_cast<const CpuLinear&>(w), bias, out);
  }

  void LinearAdd(Stream& stream, Tensor x, const PackedLinear& w, Tensor residual) override {
    CheckTensors(Op::kLinearAdd, {x, residual});
    product_runner_.LinearAdd(x, static_cast<const CpuLinear&>(w), residual);
  }

  void GatedLinear(Stream& stream, Tensor x, const PackedGatedLinear& w, Tensor out) override {
    CheckTensors(Op::kGatedLinear, {x, out});
    product_runner_.GatedLinear(x, static_cast<const CpuGatedLinear&>(w), out);
  }

  void RopeAngles(Stream& stream, const StepBatch& batch, Tensor inv_freq, float factor,
                  Tensor cos_sin) override {
    CheckTensors(Op::kRopeAngles, {inv_freq, cos_sin});
    const int64_t half = inv_freq.cols;
    team_.ForEachRow(batch.num_tokens, cos_sin.cols * kTranscendentalCost, [&](int64_t t) {
      const float* list = inv_freq.f32() + batch.rope_lists[batch.seq_of_token[t]] * half;
      FillRopeAngles(batch.positions[t], list, half, factor, cos_sin.f32() + t * cos_sin.cols);
    });
  }

  void RopeAndWriteKv(Stream& stream, const StepBatch& batch, Tensor cos_sin, int local_q_heads,
                      Tensor qkv, KvCache& cache, int layer) override {
    CheckTensors(Op::kRopeAndWriteKv, {cos_sin, qkv});
    auto& arena = static_cast<KvArena&>(cache);
    const int head_dim = arena.shape().head_dim;
    const int kv_heads = arena.shape().num_kv_heads;
    // No two tokens of a step have the same slot, so threads never write to the same place.
    team_.ForEachRow(batch.num_tokens, qkv.cols, [&](int64_t t) {
      float* heads = qkv.f32() + t * qkv.cols;
      const float* angles = cos_sin.f32() + t * cos_sin.cols;
      for (int h = 0; h < local_q_heads + kv_heads; ++h) {
        RotateHead(angles, cos_sin.cols / 2, heads + h * head_dim);
      }
      const float* keys = heads + local_q_heads * head_dim;
      const int position = batch.positions[t];
      const int64_t block = BlockTable(batch, t)[position / kKvBlockTokens];
      arena.Write(layer, block, position % kKvBlockTokens, keys, keys + kv_heads * head_dim);
    });
  }

  void PagedAttention(Stream& stream, const StepBatch& batch, Tensor qkv, int local_q_heads,
                      float scale, const KvCache& cache, int layer, Tensor out) override {
    CheckTensors(Op::kPagedAttention, {qkv, out});
    if (!attention_.has_value()) {
      std::fprintf(stderr, "%s: was called before Reserve\n", OpName(Op::kPagedAttention));
      std::abort();
    }
    const auto& arena = static_cast<const KvArena&>(cache);
    const bool rounds = rounding_attention_.has_value() && arena.shape().dtype != KvDType::kF32;
    (rounds ? rounding_attention_ : attention_)
        ->Run(batch, qkv, local_q_heads, scale, arena, layer, out);
  }

  void GatherRows(Stream& stream, const int32_t* rows, Tensor x, Tensor out) override {
    CheckTensors(Op::kGatherRows, {x, out});
    for (int64_t i = 0; i < out.rows; ++i) {
      std::copy_n(x.f32() + rows[i] * x.cols, x.cols, out.f32() + i * x.cols);
    }
  }

  void AdjustLogits(Stream& stream, const SamplingBatch& batch, Tensor logits,
                    int64_t first_id) override {
    CheckTensors(Op::kAdjustLogits, {logits});
    sampling_.AdjustLogits(batch, logits, first_id);
  }

  void Sample(Stream& stream, const SamplingBatch& batch, Tensor logits, int32_t* tokens) override {
    CheckTensors(Op::kSample, {logits});
    sampling_.Sample(batch, logits, WordsFor(Op::kSample, logits).shard, tokens);
  }

  void StoreLastTokens(Stream& stream, const SamplingBatch& batch, const int32_t* tokens,
                       int32_t* last_tokens) override {
    SetLastTokens(batch, tokens, last_tokens);
  }

  void TokenLogProbs(Stream& stream, Tensor logits, const int32_t* targets,
                     float* log_probs) override {
    CheckTensors(Op::kTokenLogProbs, {logits});
    sampling_.TokenLogProbs(logits, targets, WordsFor(Op::kTokenLogProbs, logits), log_probs);
  }

  void RowMaxima(Stream& stream, Tensor logits, int64_t first_id, uint64_t* maxima) override {
    CheckTensors(Op::kRowMaxima, {logits});
    sampling_.RowMaxima(logits, first_id, maxima);
  }

  void CutSums(Stream& stream, const SamplingBatch& batch, Tensor logits, const SampleShard& shard,
               CutKind kind, int digit) override {
    CheckTensors(Op::kCutSums, {logits});
    sampling_.CutSums(batch, logits, shard, kind, digit);
  }

  void NarrowCut(Stream& stream, const SamplingBatch& batch, Tensor logits,
                 const SampleShard& shard, CutKind kind, int digit) override {
    CheckTensors(Op::kNarrowCut, {logits});
    sampling_.NarrowCut(batch, logits, shard, kind, digit);
  }

  void TypicalSums(Stream& stream, const SamplingBatch& batch, Tensor logits,
                   const SampleShard& shard) override {
    CheckTensors(Op::kTypicalSums, {logits});
    sampling_.TypicalSums(batch, logits, shard);
  }

  void KeptWeights(Stream& stream, const SamplingBatch& batch, Tensor logits,
                   const SampleShard& shard) override {
    CheckTensors(Op::kKeptWeights, {logits});
    sampling_.KeptWeights(batch, logits, shard);
  }

  void DrawTokens(Stream& stream, const SamplingBatch& batch, Tensor logits,
                  const SampleShard& shard) override {
    CheckTensors(Op::kDrawTokens, {logits});
    sampling_.DrawTokens(batch, logits, shard);
  }

  void TakeTokens(Stream& stream, int64_t rows, const uint64_t* drawn, int32_t* tokens) override {
    sampling_.TakeTokens(rows, drawn, tokens);
  }

  void LogProbTerms(Stream& stream, Tensor logits, int64_t first_id, const int32_t* targets,
                    const uint64_t* maxima, uint64_t* terms) override {
    CheckTensors(Op::kLogProbTerms, {logits});
    sampling_.LogProbTerms(logits, first_id, targets, maxima, terms);
  }

  void CombineLogProbs(Stream& stream, int64_t rows, const uint64_t* maxima, const uint64_t* terms,
                       float* log_probs) override {
    sampling_.CombineLogProbs(rows, maxima, terms, log_probs);
  }

  void TopLogits(Stream& stream, Tensor logits, int64_t first_id, int count,
                 uint64_t* words) override {
    CheckTensors(Op::kTopLogits, {logits});
    sampling_.TopLogits(logits, first_id, count, words);
  }

 private:
  // Whether attention over caches that are not in float32 rounds queries and weights to bfloat16.
  bool rounds_attention() const {
    return products_ != CpuProducts::kFloat32 && kernels_.bf16_attention != nullptr;
  }

  std::string ProductsText() const {
    switch (products_) {
      case CpuProducts::kFloat32:
        return ", products with quantized weights in float32";
      case CpuProducts::kInt8:
        return ", products with quantized weights in int8";
      case CpuProducts::kBFloat16:
        return absl::StrCat(", products in bf16 by ", kernels_.bf16.sums_by);
    }
    return "";
  }

  // The workspace is what attention works in, then the words of Sample and TokenLogProbs, and then
  // what products work in.
  size_t AttentionBytes(const WorkspaceLimits& limits) const {
    const auto bytes = [&](const AttentionKernels& kernels) {
      return RoundUp(PagedAttentionRunner::ScratchBytes(kernels, limits, team_.num_threads()));
    };
    const size_t exact = bytes(Float32Attention(kernels_.attention));
    return rounds_attention() ? std::max(exact, bytes(*kernels_.bf16_attention)) : exact;
  }
  static size_t RoundUp(size_t bytes) {
    return (bytes + kTensorAlignment - 1) / kTensorAlignment * kTensorAlignment;
  }

  // The words for the rows of `logits`, which are whole.
  SamplingWords WordsFor(Op op, const Tensor& logits) {
    CheckReserved(op, SamplingWordsBytes(logits.rows), SamplingWordsBytes(sampling_rows_));
    SamplingWords words = sampling_words_;
    words.shard.vocab = logits.cols;
    return words;
  }

  // What an exponential, sine or cosine costs, in multiply-adds on one element; a rough figure.
  static constexpr int64_t kTranscendentalCost = 8;

  LinearFormats FormatsFor(CpuProducts products) const {
    switch (products) {
      case CpuProducts::kFloat32:
        break;
      case CpuProducts::kInt8:
        return {&float_format_, &int8_format_};
      case CpuProducts::kBFloat16:
        return {&bf16_format_, &bf16_format_};
    }
    return {&float_format_, &float_format_};
  }

  const KernelSet& kernels_;
  const std::string note_;
  const CpuProducts products_;
  const KvDType kv_cache_dtype_;
  const FloatFormat float_format_;
  const Int8Format int8_format_;
  const Bf16Format bf16_format_;
  const LinearFormats formats_;
  const std::vector<int> calling_cpus_;
  WeightArena arena_;
  ThreadTeam team_;
  ProductRunner product_runner_;
  const CpuSampling sampling_;
  std::unique_ptr<HostBuffer> workspace_;  // Null before Reserve.
  std::optional<PagedAttentionRunner> attention_;
  // For caches that are not in float32, if rounds_attention().
  std::optional<PagedAttentionRunner> rounding_attention_;
  SamplingWords sampling_words_;
  int64_t sampling_rows_ = 0;
};

// Of a level that this machine has.
const KernelSet& KernelsOf(CpuLevel level) {
  switch (level) {
    case CpuLevel::kAvx2:
      return *Avx2Kernels();
    case CpuLevel::kAvx2Vnni:
      return *Avx2VnniKernels();
    case CpuLevel::kAvx512Vnni:
      return ReadCpuFacts().avx512_bf16 ? *Avx512Bf16Kernels() : *Avx512Kernels();
    case CpuLevel::kAmx:
      return *AmxKernels();
    case CpuLevel::kBest:
    case CpuLevel::kPortable:
      break;
  }
  return PortableKernels();
}

absl::StatusOr<std::unique_ptr<Backend>> MakeBackend(const CpuOptions& options,
                                                     const KernelSet& kernels,
                                                     absl::string_view note) {
  if (options.num_threads < 1) {
    return absl::InvalidArgumentError(absl::StrCat("num_threads: ", options.num_threads));
  }
  if (absl::Status status = KvArena::CheckDType(KvDTypeOf(options)); !status.ok()) return status;
  return std::make_unique<CpuBackend>(options, kernels, note);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Backend>> MakeCpuBackend(const CpuOptions& options) {
  const absl::StatusOr<ChosenCpuLevel> level =
      ChooseCpuLevel(options.level, ReadCpuFacts(), AllowTiles);
  if (!level.ok()) return level.status();
  return MakeBackend(options, KernelsOf(level->level), level->note);
}

absl::StatusOr<std::unique_ptr<Backend>> MakeCpuBackend(const CpuOptions& options,
                                                        const KernelSet& kernels) {
  return MakeBackend(options, kernels, "");
}

}  // namespace phalanx::kernels
