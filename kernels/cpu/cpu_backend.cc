#include "kernels/cpu/cpu_backend.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/check_tensors.h"
#include "kernels/cpu/float_format.h"
#include "kernels/cpu/int8_format.h"
#include "kernels/cpu/kernel_set.h"
#include "kernels/cpu/kv_arena.h"
#include "kernels/cpu/packed_linear.h"
#include "kernels/cpu/paged_attention.h"
#include "kernels/cpu/rope.h"
#include "kernels/cpu/sharded_sampling.h"
#include "kernels/cpu/thread_team.h"
#include "kernels/cpu/weight_arena.h"
#include "kernels/host_memory.h"

namespace phalanx::kernels {
namespace {

// Outputs that a thread takes at once. Kernels handle up to four groups of outputs together; a
// smaller grain would cut these apart.
constexpr int64_t kLinearGrainOutputs = 32;

// Work on fewer elements is done by the calling thread alone: it takes less time than it takes
// another thread to begin.
constexpr int64_t kLeastParallelElements = 8192;

KvDType KvDTypeOf(const CpuOptions& options) {
  const bool is_exact = options.products == CpuProducts::kFloat32;
  return options.kv_cache.value_or(is_exact ? KvDType::kF32 : KvDType::kBF16);
}

// Ops ignore their stream, because they are done when they return. Weights and caches that they are
// given come from this backend, hence the casts to its own types.
class CpuBackend : public Backend {
 public:
  CpuBackend(const CpuOptions& options, const KernelSet& kernels)
      : kernels_(kernels),
        products_(options.products),
        kv_cache_dtype_(KvDTypeOf(options)),
        float_format_(kernels.linear),
        int8_format_(kernels.int8),
        team_(options.num_threads),
        sampling_(&team_, kernels.logits) {
    formats_.floats = &float_format_;
    formats_.quantized = &float_format_;
    if (products_ == CpuProducts::kInt8) formats_.quantized = &int8_format_;
  }

  std::string Describe() const override {
    const int n = team_.num_threads();
    return absl::StrCat("cpu ", kernels_.name, ", ", n, n == 1 ? " thread" : " threads",
                        ", products with quantized weights in ",
                        products_ == CpuProducts::kInt8 ? "int8" : "float32");
  }
  std::string Arithmetic() const override {
    return absl::StrCat(kernels_.name, products_ == CpuProducts::kInt8 ? " int8" : "");
  }
  Determinism determinism() const override { return Determinism::kStrict; }
  DType activation_dtype() const override { return DType::kF32; }
  DType residual_dtype() const override { return DType::kF32; }
  KvDType kv_cache_dtype() const override { return kv_cache_dtype_; }

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
    return PreparedBytes(limits) + AttentionBytes(limits) + SamplingWordsBytes(limits.max_seqs) +
           ProductBytes(limits);
  }

  absl::Status Reserve(const WorkspaceLimits& limits) override {
    absl::StatusOr<std::unique_ptr<HostBuffer>> buffer = HostBuffer::Create(WorkspaceBytes(limits));
    if (!buffer.ok()) return buffer.status();
    workspace_ = *std::move(buffer);
    prepared_bytes_ = PreparedBytes(limits);
    auto* const bytes = static_cast<std::byte*>(workspace_->data());
    const size_t sampling_at = prepared_bytes_ + AttentionBytes(limits);
    attention_.emplace(kernels_.attention, limits,
                       reinterpret_cast<float*>(bytes + prepared_bytes_), &team_);
    sampling_words_ = PlaceSamplingWords(bytes + sampling_at, limits.max_seqs);
    sampling_rows_ = limits.max_seqs;
    product_at_ = sampling_at + SamplingWordsBytes(limits.max_seqs);
    return absl::OkStatus();
  }

  absl::StatusOr<std::unique_ptr<KvCache>> AllocateKvCache(const KvCache::Shape& shape) override {
    return KvArena::Create(shape);
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
    ForEachRow(batch.num_tokens, out.cols, [&](int64_t t) {
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
    ForEachRow(x.rows, x.cols, [&](int64_t i) {
      kernels_.rms_norm(x.f32() + i * x.cols, weight.f32(), eps, x.cols, out.f32() + i * x.cols);
    });
  }

  void AddRmsNorm(Stream& stream, Tensor residual, Tensor delta, Tensor weight, float eps,
                  Tensor out) override {
    CheckTensors(Op::kAddRmsNorm, {residual, delta, weight, out});
    const int64_t n = residual.cols;
    ForEachRow(residual.rows, n, [&](int64_t i) {
      float* row = residual.f32() + i * n;
      kernels_.add(delta.f32() + i * n, n, row);
      kernels_.rms_norm(row, weight.f32(), eps, n, out.f32() + i * n);
    });
  }

  void Linear(Stream& stream, Tensor x, const PackedLinear& w, Tensor bias, Tensor out) override {
    CheckTensors(Op::kLinear, {x, bias, out});
    if (x.rows == 0) return;
    // Threads share out the outputs and not the rows: a decode has few rows, and this way each
    // weight is read and decoded by one thread only.
    for (const CpuLinear::Segment& segment : static_cast<const CpuLinear&>(w).segments()) {
      LinearTask task = {.weights = &segment.matrix,
                         .x = x.f32(),
                         .rows = x.rows,
                         .bias = bias.data == nullptr ? nullptr : bias.f32() + segment.first_output,
                         .out = out.f32() + segment.first_output,
                         .out_stride = w.out_features()};
      Prepare(Op::kLinear, task);
      ForEachGroups(segment.matrix, [&](int64_t begin, int64_t end) {
        segment.matrix.format->Run(task, begin, end);
      });
    }
  }

  void LinearAdd(Stream& stream, Tensor x, const PackedLinear& w, Tensor residual) override {
    CheckTensors(Op::kLinearAdd, {x, residual});
    if (x.rows == 0) return;
    const int64_t n = w.out_features();
    float* const product = Product(Op::kLinearAdd, x.rows * n);
    for (const CpuLinear::Segment& segment : static_cast<const CpuLinear&>(w).segments()) {
      LinearTask task = {.weights = &segment.matrix,
                         .x = x.f32(),
                         .rows = x.rows,
                         .out = product + segment.first_output,
                         .out_stride = n};
      Prepare(Op::kLinearAdd, task);
      float* const sum = residual.f32() + segment.first_output;
      // The thread that made a product adds it, while it is in its cache.
      ForEachGroups(segment.matrix, [&](int64_t begin, int64_t end) {
        segment.matrix.format->Run(task, begin, end);
        const Columns columns = ColumnsOfGroups(begin, end, segment.matrix);
        for (int64_t i = 0; i < x.rows; ++i) {
          const int64_t at = i * n + columns.first;
          kernels_.add(task.out + at, columns.count, sum + at);
        }
      });
    }
  }

  void GatedLinear(Stream& stream, Tensor x, const PackedGatedLinear& w, Tensor out) override {
    CheckTensors(Op::kGatedLinear, {x, out});
    if (x.rows == 0) return;
    const auto& weights = static_cast<const CpuGatedLinear&>(w);
    const int64_t n = w.out_features();
    // `out` holds the gate until it is multiplied.
    LinearTask gate = {.weights = &weights.gate(),
                       .x = x.f32(),
                       .rows = x.rows,
                       .out = out.f32(),
                       .out_stride = n};
    LinearTask up = {.weights = &weights.up(),
                     .x = x.f32(),
                     .rows = x.rows,
                     .out = Product(Op::kGatedLinear, x.rows * n),
                     .out_stride = n};
    if (gate.weights->dtype == up.weights->dtype) {
      Prepare(Op::kGatedLinear, gate);
      up.prepared = gate.prepared;
      ForEachGroups(weights.gate(), [&](int64_t begin, int64_t end) {
        weights.gate().format->Run(gate, begin, end);
        weights.up().format->Run(up, begin, end);
        MultiplyGated(gate, up, begin, end);
      });
      return;
    }
    // There is room for one prepared input only.
    Prepare(Op::kGatedLinear, up);
    ForEachGroups(weights.up(),
                  [&](int64_t begin, int64_t end) { weights.up().format->Run(up, begin, end); });
    Prepare(Op::kGatedLinear, gate);
    ForEachGroups(weights.gate(), [&](int64_t begin, int64_t end) {
      weights.gate().format->Run(gate, begin, end);
      MultiplyGated(gate, up, begin, end);
    });
  }

  void RopeAngles(Stream& stream, const StepBatch& batch, Tensor inv_freq, float factor,
                  Tensor cos_sin) override {
    CheckTensors(Op::kRopeAngles, {inv_freq, cos_sin});
    const int64_t half = inv_freq.cols;
    ForEachRow(batch.num_tokens, cos_sin.cols * kTranscendentalCost, [&](int64_t t) {
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
    ForEachRow(batch.num_tokens, qkv.cols, [&](int64_t t) {
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
    attention_->Run(batch, qkv, local_q_heads, scale, static_cast<const KvArena&>(cache), layer,
                    out);
  }

  void GatherRows(Stream& stream, const int32_t* rows, Tensor x, Tensor out) override {
    CheckTensors(Op::kGatherRows, {x, out});
    for (int64_t i = 0; i < out.rows; ++i) {
      std::copy_n(x.f32() + rows[i] * x.cols, x.cols, out.f32() + i * x.cols);
    }
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

 private:
  // Outputs of a matrix that lie side by side.
  struct Columns {
    int64_t first;
    int64_t count;
  };
  // The outputs of some groups. The last group may have fewer than the others.
  static Columns ColumnsOfGroups(int64_t group_begin, int64_t group_end,
                                 const PackedMatrix& matrix) {
    const int64_t group_rows = matrix.format->group_rows();
    const int64_t first = group_begin * group_rows;
    return {first, std::min(group_end * group_rows, matrix.out_features) - first};
  }

  // Calls run(begin, end) for groups that cover all of `matrix`, on any thread.
  template <typename Function>
  void ForEachGroups(const PackedMatrix& matrix, Function run) {
    team_.ParallelFor(matrix.groups(), kLinearGrainOutputs / matrix.format->group_rows(), run);
  }

  // gate.out = silu(gate.out) * up.out, for the outputs of some groups.
  void MultiplyGated(const LinearTask& gate, const LinearTask& up, int64_t group_begin,
                     int64_t group_end) const {
    const Columns columns = ColumnsOfGroups(group_begin, group_end, *gate.weights);
    for (int64_t i = 0; i < gate.rows; ++i) {
      const int64_t at = i * gate.out_stride + columns.first;
      kernels_.silu_mul(gate.out + at, up.out + at, columns.count, gate.out + at);
    }
  }

  // The workspace is the input of a product as its format wants it; then what attention works in;
  // then the words of Sample and TokenLogProbs; and then one product of LinearAdd, or one of the
  // two of GatedLinear, of a whole step.
  size_t PreparedBytes(const WorkspaceLimits& limits) const {
    const int64_t widest =
        std::max({limits.hidden, limits.local_ffn, limits.local_q_heads * limits.head_dim});
    const size_t bytes =
        formats_.quantized->PreparedBytes(std::max(limits.max_tokens, limits.max_seqs), widest);
    return RoundUp(bytes);
  }
  size_t AttentionBytes(const WorkspaceLimits& limits) const {
    return RoundUp(PagedAttentionRunner::ScratchBytes(limits, team_.num_threads()));
  }
  static size_t RoundUp(size_t bytes) {
    return (bytes + kTensorAlignment - 1) / kTensorAlignment * kTensorAlignment;
  }
  static size_t ProductBytes(const WorkspaceLimits& limits) {
    return static_cast<size_t>(limits.max_tokens * std::max(limits.hidden, limits.local_ffn)) *
           sizeof(float);
  }

  // Ends the process, naming the op, if the workspace has less than it takes.
  void CheckWorkspace(Op op, size_t bytes, size_t reserved) const {
    if (bytes <= reserved) return;
    std::fprintf(stderr, "%s: takes %zu bytes of workspace, but %zu are reserved\n", OpName(op),
                 bytes, reserved);
    std::abort();
  }

  float* Product(Op op, int64_t elements) {
    const size_t reserved = workspace_ == nullptr ? 0 : workspace_->bytes() - product_at_;
    CheckWorkspace(op, static_cast<size_t>(elements) * sizeof(float), reserved);
    return reinterpret_cast<float*>(static_cast<std::byte*>(workspace_->data()) + product_at_);
  }

  // The words for the rows of `logits`, which are whole.
  SamplingWords WordsFor(Op op, const Tensor& logits) {
    CheckWorkspace(op, SamplingWordsBytes(logits.rows), SamplingWordsBytes(sampling_rows_));
    SamplingWords words = sampling_words_;
    words.shard.vocab = logits.cols;
    return words;
  }

  // Brings the inputs of a product into the form that its format wants.
  void Prepare(Op op, LinearTask& task) {
    const LinearFormat& format = *task.weights->format;
    const size_t bytes = format.PreparedBytes(task.rows, task.weights->in_features);
    if (bytes == 0) return;
    CheckWorkspace(op, bytes, prepared_bytes_);
    auto* const to = static_cast<std::byte*>(workspace_->data());
    ForEachRow(format.PrepareParts(task.rows), task.rows * task.weights->in_features,
               [&](int64_t part) { format.Prepare(task, part, part + 1, to); });
    task.prepared = to;
  }

  // What an exponential, sine or cosine costs, in multiply-adds on one element; a rough figure.
  static constexpr int64_t kTranscendentalCost = 8;

  // Calls row(i) for i in [0, rows), on one thread if there is little to do: a grain of all rows
  // makes ParallelFor one part. `row_cost` is what a row costs in multiply-adds.
  template <typename RowFunction>
  void ForEachRow(int64_t rows, int64_t row_cost, RowFunction row) {
    const int64_t grain = rows * row_cost < kLeastParallelElements ? std::max<int64_t>(rows, 1) : 1;
    team_.ParallelFor(rows, grain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) row(i);
    });
  }

  const KernelSet& kernels_;
  const CpuProducts products_;
  const KvDType kv_cache_dtype_;
  const FloatFormat float_format_;
  const Int8Format int8_format_;
  LinearFormats formats_;
  WeightArena arena_;
  ThreadTeam team_;
  const CpuSampling sampling_;
  std::unique_ptr<HostBuffer> workspace_;  // Null before Reserve.
  std::optional<PagedAttentionRunner> attention_;
  SamplingWords sampling_words_;
  int64_t sampling_rows_ = 0;
  size_t product_at_ = 0;
  size_t prepared_bytes_ = 0;  // Of the workspace.
};

// Null if this machine lacks what the level takes.
const KernelSet* KernelsOf(CpuLevel level) {
  switch (level) {
    case CpuLevel::kPortable:
      return &PortableKernels();
    case CpuLevel::kAvx2:
      return Avx2Kernels();
    case CpuLevel::kAvx512Vnni:
      return Avx512Kernels();
    case CpuLevel::kBest:
      break;
  }
  for (const KernelSet* kernels : {Avx512Kernels(), Avx2Kernels()}) {
    if (kernels != nullptr) return kernels;
  }
  return &PortableKernels();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Backend>> MakeCpuBackend(const CpuOptions& options) {
  if (options.num_threads < 1) {
    return absl::InvalidArgumentError(absl::StrCat("num_threads: ", options.num_threads));
  }
  const KernelSet* const kernels = KernelsOf(options.level);
  if (kernels == nullptr) {
    return absl::InvalidArgumentError(options.level == CpuLevel::kAvx2
                                          ? "this machine lacks AVX2, FMA or F16C"
                                          : "this machine lacks AVX-512 or its VNNI");
  }
  if (absl::Status status = KvArena::CheckDType(KvDTypeOf(options)); !status.ok()) return status;
  return std::make_unique<CpuBackend>(options, *kernels);
}

}  // namespace phalanx::kernels
