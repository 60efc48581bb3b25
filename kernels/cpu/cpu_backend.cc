#include "kernels/cpu/cpu_backend.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/check_tensors.h"
#include "kernels/cpu/kernel_set.h"
#include "kernels/cpu/kv_arena.h"
#include "kernels/cpu/packed_linear.h"
#include "kernels/cpu/rope.h"
#include "kernels/cpu/sharded_sampling.h"
#include "kernels/cpu/thread_team.h"
#include "kernels/host_memory.h"
#include "kernels/sampling/log_prob.h"
#include "kernels/sampling/sample.h"
#include "kernels/sampling/sharded_sample.h"

namespace phalanx::kernels {
namespace {

// Groups of outputs that a thread takes at once. The AVX2 kernel for a single row handles four
// groups together; a smaller grain would cut these apart.
constexpr int64_t kLinearGrain = 4;

// Work on fewer elements is done by the calling thread alone: it takes less time than it takes
// another thread to begin.
constexpr int64_t kLeastParallelElements = 8192;

// Ops ignore their stream, because they are done when they return. Weights and caches that they are
// given come from this backend, hence the casts to its own types.
class CpuBackend : public Backend {
 public:
  CpuBackend(const CpuOptions& options, const KernelSet& kernels)
      : kernels_(kernels), kv_cache_dtype_(options.kv_cache), team_(options.num_threads) {}

  std::string Describe() const override {
    const int n = team_.num_threads();
    return absl::StrCat("cpu ", kernels_.name, ", ", n, n == 1 ? " thread" : " threads");
  }
  std::string Arithmetic() const override { return kernels_.name; }
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
    return CpuLinear::Create(sources, team_);
  }

  absl::StatusOr<std::unique_ptr<PackedGatedLinear>> PackGatedLinear(
      const LinearSource& gate, const LinearSource& up) override {
    return CpuGatedLinear::Create(gate, up, team_);
  }

  size_t LinearBytes(absl::Span<const LinearSize> sources) const override {
    return CpuLinear::Bytes(sources);
  }
  size_t GatedLinearBytes(const LinearSize& gate, const LinearSize& up) const override {
    return CpuLinear::BytesApart({gate, up});
  }
  size_t KvCacheBytes(const KvCache::Shape& shape) const override { return KvArena::Bytes(shape); }
  // One product of LinearAdd, or one of the two of GatedLinear, of a whole step.
  size_t WorkspaceBytes(const WorkspaceLimits& limits) const override {
    return static_cast<size_t>(limits.max_tokens * std::max(limits.hidden, limits.local_ffn)) *
           sizeof(float);
  }

  absl::Status Reserve(const WorkspaceLimits& limits) override {
    absl::StatusOr<std::unique_ptr<HostBuffer>> buffer = HostBuffer::Create(WorkspaceBytes(limits));
    if (!buffer.ok()) return buffer.status();
    workspace_ = *std::move(buffer);
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
      const LinearTask task = {
          .weights = &segment.matrix,
          .x = x.f32(),
          .rows = x.rows,
          .bias = bias.data == nullptr ? nullptr : bias.f32() + segment.first_output,
          .out = out.f32() + segment.first_output,
          .out_stride = w.out_features()};
      team_.ParallelFor(segment.matrix.groups(), kLinearGrain,
                        [&](int64_t begin, int64_t end) { kernels_.linear(task, begin, end); });
    }
  }

  void LinearAdd(Stream& stream, Tensor x, const PackedLinear& w, Tensor residual) override {
    CheckTensors(Op::kLinearAdd, {x, residual});
    if (x.rows == 0) return;
    const int64_t n = w.out_features();
    float* const product = Workspace(Op::kLinearAdd, x.rows * n);
    for (const CpuLinear::Segment& segment : static_cast<const CpuLinear&>(w).segments()) {
      const LinearTask task = {.weights = &segment.matrix,
                               .x = x.f32(),
                               .rows = x.rows,
                               .out = product + segment.first_output,
                               .out_stride = n};
      float* const sum = residual.f32() + segment.first_output;
      // The thread that made a product adds it, while it is in its cache.
      team_.ParallelFor(segment.matrix.groups(), kLinearGrain, [&](int64_t begin, int64_t end) {
        kernels_.linear(task, begin, end);
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
    const LinearTask gate = {.weights = &weights.gate(),
                             .x = x.f32(),
                             .rows = x.rows,
                             .out = out.f32(),
                             .out_stride = n};
    const LinearTask up = {.weights = &weights.up(),
                           .x = x.f32(),
                           .rows = x.rows,
                           .out = Workspace(Op::kGatedLinear, x.rows * n),
                           .out_stride = n};
    team_.ParallelFor(weights.gate().groups(), kLinearGrain, [&](int64_t begin, int64_t end) {
      kernels_.linear(gate, begin, end);
      kernels_.linear(up, begin, end);
      const Columns columns = ColumnsOfGroups(begin, end, weights.gate());
      for (int64_t i = 0; i < x.rows; ++i) {
        const int64_t at = i * n + columns.first;
        kernels_.silu_mul(gate.out + at, up.out + at, columns.count, gate.out + at);
      }
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
    const auto& arena = static_cast<const KvArena&>(cache);
    const int head_dim = arena.shape().head_dim;
    const int kv_heads = arena.shape().num_kv_heads;
    const int group = local_q_heads / kv_heads;
    // A part is one token and one KV head, with the query heads that share it. Keys are not shared
    // out among threads: that would change the order of sums with the number of threads. A later
    // token of the same sequence is in the cache already, and is left out by num_keys.
    const auto attend = [&](uint32_t part) {
      const int64_t t = part / kv_heads;
      const int kv_head = static_cast<int>(part % kv_heads);
      const int64_t first_head = int64_t{kv_head} * group;
      kernels_.attention({.query = qkv.f32() + t * qkv.cols + first_head * head_dim,
                          .num_heads = group,
                          .head_dim = head_dim,
                          .num_keys = batch.positions[t] + 1,
                          .blocks = BlockTable(batch, t),
                          .dtype = arena.shape().dtype,
                          .keys = arena.keys(layer, kv_head),
                          .values = arena.values(layer, kv_head),
                          .scales = arena.scales(layer, kv_head),
                          .block_stride = arena.block_stride(),
                          .scale = scale,
                          .out = out.f32() + t * out.cols + first_head * head_dim});
    };
    team_.Run(static_cast<uint32_t>(batch.num_tokens * kv_heads), attend);
  }

  void GatherRows(Stream& stream, const int32_t* rows, Tensor x, Tensor out) override {
    CheckTensors(Op::kGatherRows, {x, out});
    for (int64_t i = 0; i < out.rows; ++i) {
      std::copy_n(x.f32() + rows[i] * x.cols, x.cols, out.f32() + i * x.cols);
    }
  }

  void Sample(Stream& stream, const SamplingBatch& batch, Tensor logits, int32_t* tokens) override {
    CheckTensors(Op::kSample, {logits});
    ForEachRow(batch.num_logit_rows, logits.cols,
               [&](int64_t i) { tokens[i] = SampleToken(Row(logits, i), batch.sampling[i]); });
  }

  void StoreLastTokens(Stream& stream, const SamplingBatch& batch, const int32_t* tokens,
                       int32_t* last_tokens) override {
    SetLastTokens(batch, tokens, last_tokens);
  }

  void TokenLogProbs(Stream& stream, Tensor logits, const int32_t* targets,
                     float* log_probs) override {
    CheckTensors(Op::kTokenLogProbs, {logits});
    ForEachRow(logits.rows, logits.cols * kTranscendentalCost,
               [&](int64_t i) { log_probs[i] = LogProb(Row(logits, i), targets[i]); });
  }

  void RowMaxima(Stream& stream, Tensor logits, int64_t first_id, uint64_t* maxima) override {
    CheckTensors(Op::kRowMaxima, {logits});
    RowMaximaOnCpu(team_, logits, first_id, maxima);
  }

  void CutSums(Stream& stream, const SamplingBatch& batch, Tensor logits, const SampleShard& shard,
               CutKind kind, int digit) override {
    CheckTensors(Op::kCutSums, {logits});
    CutSumsOnCpu(team_, batch, logits, shard, kind, digit);
  }

  void NarrowCut(Stream& stream, const SamplingBatch& batch, Tensor logits,
                 const SampleShard& shard, CutKind kind, int digit) override {
    CheckTensors(Op::kNarrowCut, {logits});
    // With the last digit, ties may have to be looked for among all logits of a row.
    const int64_t row_cost = digit == kCutDigits - 1 ? logits.cols : kDigitValues;
    ForEachRow(batch.num_logit_rows, row_cost,
               [&](int64_t i) { NarrowRow(batch, logits, shard, i, kind, digit); });
  }

  void KeptWeights(Stream& stream, const SamplingBatch& batch, Tensor logits,
                   const SampleShard& shard) override {
    CheckTensors(Op::kKeptWeights, {logits});
    KeptWeightsOnCpu(team_, batch, logits, shard);
  }

  void DrawTokens(Stream& stream, const SamplingBatch& batch, Tensor logits,
                  const SampleShard& shard) override {
    CheckTensors(Op::kDrawTokens, {logits});
    // Looks at the sums of the runs, and at the tokens of one run.
    ForEachRow(batch.num_logit_rows, kDigitValues + logits.cols / kDigitValues,
               [&](int64_t i) { DrawRow(batch, logits, shard, i); });
  }

  void TakeTokens(Stream& stream, int64_t rows, const uint64_t* drawn, int32_t* tokens) override {
    for (int64_t i = 0; i < rows; ++i) tokens[i] = static_cast<int32_t>(drawn[i]) - 1;
  }

  void LogProbTerms(Stream& stream, Tensor logits, int64_t first_id, const int32_t* targets,
                    const uint64_t* maxima, uint64_t* terms) override {
    CheckTensors(Op::kLogProbTerms, {logits});
    LogProbTermsOnCpu(team_, logits, first_id, targets, maxima, terms);
  }

  void CombineLogProbs(Stream& stream, int64_t rows, const uint64_t* maxima, const uint64_t* terms,
                       float* log_probs) override {
    for (int64_t i = 0; i < rows; ++i) {
      log_probs[i] = CombinedLogProb(maxima[i], terms + i * kLogProbTerms);
    }
  }

 private:
  // Outputs of a matrix that lie side by side.
  struct Columns {
    int64_t first;
    int64_t count;
  };
  // The outputs of some groups. The last group may have fewer than eight.
  static Columns ColumnsOfGroups(int64_t group_begin, int64_t group_end,
                                 const PackedMatrix& matrix) {
    const int64_t first = group_begin * kGroupRows;
    return {first, std::min(group_end * kGroupRows, matrix.out_features) - first};
  }

  // Ends the process, naming the op, if not so many floats have been reserved.
  float* Workspace(Op op, int64_t elements) {
    const size_t bytes = static_cast<size_t>(elements) * sizeof(float);
    const size_t reserved = workspace_ == nullptr ? 0 : workspace_->bytes();
    if (bytes > reserved) {
      std::fprintf(stderr, "%s: takes %zu bytes of workspace, but %zu are reserved\n", OpName(op),
                   bytes, reserved);
      std::abort();
    }
    return static_cast<float*>(workspace_->data());
  }

  static absl::Span<const float> Row(Tensor x, int64_t i) {
    return {x.f32() + i * x.cols, static_cast<size_t>(x.cols)};
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
  const KvDType kv_cache_dtype_;
  ThreadTeam team_;
  std::unique_ptr<HostBuffer> workspace_;  // Null before Reserve.
};

const KernelSet& BestKernels() {
  const KernelSet* const avx2 = Avx2Kernels();
  return avx2 == nullptr ? PortableKernels() : *avx2;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Backend>> MakeCpuBackend(const CpuOptions& options) {
  if (options.num_threads < 1) {
    return absl::InvalidArgumentError(absl::StrCat("num_threads: ", options.num_threads));
  }
  if (options.instructions == CpuInstructions::kAvx2 && Avx2Kernels() == nullptr) {
    return absl::InvalidArgumentError("this machine lacks AVX2, FMA or F16C");
  }
  if (absl::Status status = KvArena::CheckDType(options.kv_cache); !status.ok()) return status;
  // kAvx2 is known to be there, and then is the best.
  const bool portable = options.instructions == CpuInstructions::kPortable;
  return std::make_unique<CpuBackend>(options, portable ? PortableKernels() : BestKernels());
}

}  // namespace phalanx::kernels
