#include "kernels/cuda/cuda_backend.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/check_tensors.h"
#include "kernels/cuda/attention.h"
#include "kernels/cuda/cuda_memory.h"
#include "kernels/cuda/cuda_status.h"
#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/kv_arena.h"
#include "kernels/cuda/library_products.h"
#include "kernels/cuda/linear.h"
#include "kernels/cuda/sampling.h"
#include "kernels/cuda/span_timer.h"
#include "kernels/cuda/tensor_core_attention.h"
#include "kernels/cuda/tensor_core_linear.h"
#include "kernels/cuda/weight_upload.h"
#include "kernels/cuda/workspace.h"
#include "kernels/linear_source.h"
#include "kernels/sampling/whole_rows.h"

namespace phalanx::kernels {
namespace {

using namespace cuda;  // NOLINT: all of it is this backend's own.

// Sizes of decode batches that steps are filled up to, so that a recording serves several. Past the
// last one steps keep their size.
constexpr std::array<int, 13> kDecodeBatchSizes = {1,  2,  4,  8,   16,  24, 32,
                                                   48, 64, 96, 128, 192, 256};

class CudaRecording final : public Recording {
 public:
  explicit CudaRecording(cudaGraphExec_t graph) : graph_(graph) {}
  CudaRecording(const CudaRecording&) = delete;
  CudaRecording& operator=(const CudaRecording&) = delete;
  ~CudaRecording() override { cudaGraphExecDestroy(graph_); }

  cudaGraphExec_t graph() const { return graph_; }

 private:
  const cudaGraphExec_t graph_;
};

// What the process uses of a device.
struct Device {
  int number = 0;
  std::string name;
  int major = 0;
  int minor = 0;
};

class CudaBackend final : public Backend {
 public:
  // `library` may be null.
  CudaBackend(const CudaBackendOptions& options, Device device,
              std::unique_ptr<WeightUploader> uploader, std::unique_ptr<LibraryProducts> library)
      : options_(options),
        device_(std::move(device)),
        uploader_(std::move(uploader)),
        library_(std::move(library)) {}

  std::string Describe() const override {
    return absl::StrCat("cuda, GPU ", device_.number, " ", device_.name, " (compute capability ",
                        device_.major, ".", device_.minor, "), activations ",
                        DTypeName(options_.activations),
                        library_ == nullptr ? "" : ", products of many rows by cuBLASLt");
  }
  std::string Arithmetic() const override {
    return absl::StrCat("cuda ", device_.major, ".", device_.minor, " ",
                        DTypeName(options_.activations));
  }
  Determinism determinism() const override { return options_.determinism; }
  DType activation_dtype() const override { return options_.activations; }
  DType residual_dtype() const override { return DType::kF32; }
  KvDType kv_cache_dtype() const override {
    const bool is_exact = options_.activations == DType::kF32;
    return options_.kv_cache.value_or(is_exact ? KvDType::kF32 : KvDType::kBF16);
  }

  bool is_asynchronous() const override { return true; }
  bool can_record() const override { return true; }

  int DecodeBatchSize(int num_seqs) const override {
    for (const int size : kDecodeBatchSizes) {
      if (size >= num_seqs) return size;
    }
    return num_seqs;
  }

  // --- Memory ---

  size_t LinearBytes(absl::Span<const LinearSize> sources) const override {
    return LinearBytesOnDevice(MergeNeighbours(sources));
  }
  size_t GatedLinearBytes(const LinearSize& gate, const LinearSize& up) const override {
    return LinearBytesOnDevice({gate, up});
  }
  size_t KvCacheBytes(const KvCache::Shape& shape) const override { return KvArena::Bytes(shape); }
  size_t WorkspaceBytes(const WorkspaceLimits& limits) const override {
    return Workspace::Bytes(limits, library_ != nullptr);
  }

  std::unique_ptr<Stream> NewStream() override {
    auto stream = CudaStream::Create(device_.number);
    if (stream.ok()) return *std::move(stream);
    // The interface has no way to say so, and nothing would work.
    std::fprintf(stderr, "%s\n", stream.status().ToString().c_str());
    std::abort();
  }

  std::unique_ptr<SpanTimer> NewSpanTimer() override {
    return std::make_unique<CudaSpanTimer>(device_.number);
  }

  absl::StatusOr<std::unique_ptr<Buffer>> Allocate(size_t bytes) override {
    return CudaBuffer::Create(device_.number, bytes, "buffers");
  }
  absl::StatusOr<std::unique_ptr<Buffer>> AllocateOnHost(size_t bytes) override {
    return PinnedBuffer::Create(bytes);
  }

  absl::StatusOr<std::unique_ptr<PackedLinear>> PackLinear(
      absl::Span<const LinearSource> sources) override {
    if (auto shape = CheckLinearSources(sources); !shape.ok()) return shape.status();
    auto linear = uploader_->UploadMerged(sources);
    if (!linear.ok()) return linear.status();
    if (library_ != nullptr) {
      for (const Segment& segment : (*linear)->segments()) {
        library_->AddMatrix(segment.matrix, LibraryProducts::Role::kLinear, (*linear)->memory());
      }
    }
    return linear;
  }

  absl::StatusOr<std::unique_ptr<PackedGatedLinear>> PackGatedLinear(
      const LinearSource& gate, const LinearSource& up) override {
    if (auto shape = CheckGatedSources(gate, up); !shape.ok()) return shape.status();
    auto linear = uploader_->Upload({gate, up});
    if (!linear.ok()) return linear.status();
    auto gated = std::make_unique<CudaGatedLinear>(*std::move(linear));
    if (library_ != nullptr) {
      library_->AddMatrix(gated->gate(), LibraryProducts::Role::kGated, gated->memory());
      library_->AddMatrix(gated->up(), LibraryProducts::Role::kGated, gated->memory());
    }
    return gated;
  }

  absl::StatusOr<std::unique_ptr<KvCache>> AllocateKvCache(const KvCache::Shape& shape) override {
    return KvArena::Create(device_.number, shape);
  }

  absl::Status Reserve(const WorkspaceLimits& limits) override {
    auto workspace = Workspace::Create(device_.number, limits, library_ != nullptr);
    if (!workspace.ok()) return workspace.status();
    workspace_ = *std::move(workspace);
    if (library_ != nullptr) library_->Prepare(limits, workspace_->library());
    return absl::OkStatus();
  }

  // --- Copies ---

  void CopyToBackend(Stream& stream, void* to, const void* from, size_t bytes) override {
    cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, Handle(stream));
  }
  void CopyToHost(Stream& stream, void* to, const void* from, size_t bytes) override {
    cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, Handle(stream));
  }

  // --- Recordings ---

  absl::StatusOr<std::unique_ptr<Recording>> Record(
      Stream& stream, absl::FunctionRef<absl::Status()> ops) override {
    const cudaStream_t handle = Handle(stream);
    absl::Status status = CudaStatus(
        cudaStreamBeginCapture(handle, cudaStreamCaptureModeThreadLocal), "recording a step");
    if (!status.ok()) return status;
    status = ops();
    cudaGraph_t graph = nullptr;
    const cudaError_t ended = cudaStreamEndCapture(handle, &graph);
    if (!status.ok()) {
      if (ended == cudaSuccess) cudaGraphDestroy(graph);
      return status;
    }
    if (status = CudaStatus(ended, "recording a step"); !status.ok()) return status;
    cudaGraphExec_t executable = nullptr;
    const cudaError_t error = cudaGraphInstantiate(&executable, graph, 0);
    cudaGraphDestroy(graph);
    if (status = CudaStatus(error, "making a graph of a step"); !status.ok()) return status;
    return std::make_unique<CudaRecording>(executable);
  }

  void Replay(Stream& stream, const Recording& recording) override {
    cudaGraphLaunch(static_cast<const CudaRecording&>(recording).graph(), Handle(stream));
  }

  // --- Ops ---

  void UpdateBlockTables(Stream& stream, const StepBatch& batch) override {
    LaunchUpdateBlockTables(Handle(stream), batch);
  }

  void Embed(Stream& stream, const StepBatch& batch, const PackedLinear& table, int64_t first_row,
             Tensor out) override {
    CheckTensors(Op::kEmbed, {out});
    for (const Segment& segment : static_cast<const CudaLinear&>(table).segments()) {
      LaunchEmbed(Handle(stream), batch, segment.matrix, first_row, segment.first_output,
                  segment.first_output == 0, out);
    }
  }

  void RmsNorm(Stream& stream, Tensor x, Tensor weight, float eps, Tensor out) override {
    CheckTensors(Op::kRmsNorm, {x, weight, out});
    LaunchRmsNorm(Handle(stream), x, weight, eps, out);
  }

  void AddRmsNorm(Stream& stream, Tensor residual, Tensor delta, Tensor weight, float eps,
                  Tensor out) override {
    CheckTensors(Op::kAddRmsNorm, {residual, delta, weight, out});
    LaunchAddRmsNorm(Handle(stream), residual, delta, weight, eps, out);
  }

  void Linear(Stream& stream, Tensor x, const PackedLinear& w, Tensor bias, Tensor out) override {
    CheckTensors(Op::kLinear, {x, bias, out});
    Multiply(stream, x, w, static_cast<const float*>(bias.data), out, /*adds=*/false);
  }

  void LinearAdd(Stream& stream, Tensor x, const PackedLinear& w, Tensor residual) override {
    CheckTensors(Op::kLinearAdd, {x, residual});
    Multiply(stream, x, w, /*bias=*/nullptr, residual, /*adds=*/true);
  }

  void GatedLinear(Stream& stream, Tensor x, const PackedGatedLinear& w, Tensor out) override {
    CheckTensors(Op::kGatedLinear, {x, out});
    if (x.rows == 0) return;
    const auto& weights = static_cast<const CudaGatedLinear&>(w);
    const DeviceMatrix& gate = weights.gate();
    const DeviceMatrix& up = weights.up();
    if (library_ != nullptr && library_->MultiplyGated(Handle(stream), x, gate, up, out)) return;
    if (UsesTensorCores(x, gate) && gate.format == up.format) {
      LaunchTensorCoreGatedLinear(Handle(stream), x, gate, up, out);
    } else {
      LaunchGatedLinear(Handle(stream), x, gate, up, out);
    }
  }

  // For few rows in bfloat16 each is one kernel, for others a norm and a product.
  void NormLinear(Stream& stream, Tensor residual, Tensor norm_weight, float eps, Tensor normed,
                  const PackedLinear& w, Tensor bias, Tensor out) override {
    CheckTensors(Op::kNormLinear, {residual, norm_weight, normed, bias, out});
    const auto& segments = static_cast<const CudaLinear&>(w).segments();
    const bool suits = normed.dtype == DType::kBF16 && out.dtype == DType::kBF16 &&
                       std::all_of(segments.begin(), segments.end(), [&](const Segment& segment) {
                         return SuitsNorm(segment.matrix, residual);
                       });
    if (!suits) {
      return Backend::NormLinear(stream, residual, norm_weight, eps, normed, w, bias, out);
    }
    if (residual.rows == 0) return;
    for (const Segment& segment : segments) {
      const LinearOutput to =
          OutputOf(segment, static_cast<const float*>(bias.data), out, /*adds=*/false);
      LaunchTensorCoreNormLinear(Handle(stream), {residual, norm_weight, eps}, segment.matrix, to);
    }
  }

  void NormGatedLinear(Stream& stream, Tensor residual, Tensor norm_weight, float eps,
                       Tensor normed, const PackedGatedLinear& w, Tensor out) override {
    CheckTensors(Op::kNormGatedLinear, {residual, norm_weight, normed, out});
    const auto& weights = static_cast<const CudaGatedLinear&>(w);
    const DeviceMatrix& gate = weights.gate();
    const DeviceMatrix& up = weights.up();
    if (normed.dtype != DType::kBF16 || gate.format != up.format || !SuitsNorm(gate, residual)) {
      return Backend::NormGatedLinear(stream, residual, norm_weight, eps, normed, w, out);
    }
    if (residual.rows == 0) return;
    LaunchTensorCoreNormGatedLinear(Handle(stream), {residual, norm_weight, eps}, gate, up, out);
  }

  void RopeAngles(Stream& stream, const StepBatch& batch, Tensor inv_freq, float factor,
                  Tensor cos_sin) override {
    CheckTensors(Op::kRopeAngles, {inv_freq, cos_sin});
    LaunchRopeAngles(Handle(stream), batch, inv_freq, factor, cos_sin);
  }

  void RopeAndWriteKv(Stream& stream, const StepBatch& batch, Tensor cos_sin, int local_q_heads,
                      Tensor qkv, KvCache& cache, int layer) override {
    CheckTensors(Op::kRopeAndWriteKv, {cos_sin, qkv});
    LaunchRopeAndWriteKv(Handle(stream), batch, cos_sin, local_q_heads, qkv,
                         static_cast<KvArena&>(cache).layer(layer));
  }

  void PagedAttention(Stream& stream, const StepBatch& batch, Tensor qkv, int local_q_heads,
                      float scale, const KvCache& cache, int layer, Tensor out) override {
    CheckTensors(Op::kPagedAttention, {qkv, out});
    Attend(stream, batch, qkv, local_q_heads, scale, cache, layer, {}, out);
  }

  // One kernel for steps of one token a sequence. With more, a block would need keys that others
  // have yet to rotate.
  void RopeAttention(Stream& stream, const StepBatch& batch, Tensor cos_sin, int local_q_heads,
                     Tensor qkv, float scale, KvCache& cache, int layer, Tensor out) override {
    CheckTensors(Op::kRopeAttention, {cos_sin, qkv, out});
    if (batch.num_tokens != batch.num_seqs) {
      return Backend::RopeAttention(stream, batch, cos_sin, local_q_heads, qkv, scale, cache, layer,
                                    out);
    }
    Attend(stream, batch, qkv, local_q_heads, scale, cache, layer,
           {.is_to_do = true,
            .cos_sin = static_cast<const float*>(cos_sin.data),
            .half = static_cast<int>(cos_sin.cols / 2)},
           out);
  }

  void GatherRows(Stream& stream, const int32_t* rows, Tensor x, Tensor out) override {
    CheckTensors(Op::kGatherRows, {x, out});
    LaunchGatherRows(Handle(stream), rows, x, out);
  }

  void AdjustLogits(Stream& stream, const SamplingBatch& batch, Tensor logits,
                    int64_t first_id) override {
    CheckTensors(Op::kAdjustLogits, {logits});
    LaunchAdjustLogits(Handle(stream), batch, logits, first_id);
  }

  // A whole row is a shard of a world of one.
  void Sample(Stream& stream, const SamplingBatch& batch, Tensor logits, int32_t* tokens) override {
    CheckTensors(Op::kSample, {logits});
    const SampleShard shard = workspace().ShardOf(Op::kSample, batch.num_logit_rows, logits.cols);
    DrawWholeRows(batch, WholeRows{*this, stream, batch, logits, shard, tokens});
  }

  void StoreLastTokens(Stream& stream, const SamplingBatch& batch, const int32_t* tokens,
                       int32_t* last_tokens) override {
    LaunchStoreLastTokens(Handle(stream), batch, tokens, last_tokens);
  }

  void TokenLogProbs(Stream& stream, Tensor logits, const int32_t* targets,
                     float* log_probs) override {
    CheckTensors(Op::kTokenLogProbs, {logits});
    const SampleShard shard = workspace().ShardOf(Op::kTokenLogProbs, logits.rows, logits.cols);
    uint64_t* const terms = workspace().log_prob_terms();
    RowMaxima(stream, logits, 0, shard.maxima);
    LogProbTerms(stream, logits, 0, targets, shard.maxima, terms);
    CombineLogProbs(stream, logits.rows, shard.maxima, terms, log_probs);
  }

  void RowMaxima(Stream& stream, Tensor logits, int64_t first_id, uint64_t* maxima) override {
    CheckTensors(Op::kRowMaxima, {logits});
    LaunchRowMaxima(Handle(stream), logits, first_id, maxima);
  }
  void CutSums(Stream& stream, const SamplingBatch& batch, Tensor logits, const SampleShard& shard,
               CutKind kind, int digit) override {
    CheckTensors(Op::kCutSums, {logits});
    LaunchCutSums(Handle(stream), batch, logits, shard, kind, digit);
  }
  void NarrowCut(Stream& stream, const SamplingBatch& batch, Tensor logits,
                 const SampleShard& shard, CutKind kind, int digit) override {
    CheckTensors(Op::kNarrowCut, {logits});
    LaunchNarrowCut(Handle(stream), batch, logits, shard, kind, digit);
  }
  void TypicalSums(Stream& stream, const SamplingBatch& batch, Tensor logits,
                   const SampleShard& shard) override {
    CheckTensors(Op::kTypicalSums, {logits});
    LaunchTypicalSums(Handle(stream), batch, logits, shard);
  }
  void KeptWeights(Stream& stream, const SamplingBatch& batch, Tensor logits,
                   const SampleShard& shard) override {
    CheckTensors(Op::kKeptWeights, {logits});
    LaunchKeptWeights(Handle(stream), batch, logits, shard);
  }
  void DrawTokens(Stream& stream, const SamplingBatch& batch, Tensor logits,
                  const SampleShard& shard) override {
    CheckTensors(Op::kDrawTokens, {logits});
    LaunchDrawTokens(Handle(stream), batch, logits, shard);
  }
  void TakeTokens(Stream& stream, int64_t rows, const uint64_t* drawn, int32_t* tokens) override {
    LaunchTakeTokens(Handle(stream), rows, drawn, tokens);
  }
  void LogProbTerms(Stream& stream, Tensor logits, int64_t first_id, const int32_t* targets,
                    const uint64_t* maxima, uint64_t* terms) override {
    CheckTensors(Op::kLogProbTerms, {logits});
    LaunchLogProbTerms(Handle(stream), logits, first_id, targets, maxima, terms);
  }
  void CombineLogProbs(Stream& stream, int64_t rows, const uint64_t* maxima, const uint64_t* terms,
                       float* log_probs) override {
    LaunchCombineLogProbs(Handle(stream), rows, maxima, terms, log_probs);
  }
  void TopLogits(Stream& stream, Tensor logits, int64_t first_id, int count,
                 uint64_t* words) override {
    CheckTensors(Op::kTopLogits, {logits});
    LaunchTopLogits(Handle(stream), logits, first_id, count, words);
  }

 private:
  // The ops of Sample, for DrawWholeRows.
  struct WholeRows {
    CudaBackend& backend;
    Stream& stream;
    const SamplingBatch& batch;
    const Tensor logits;
    const SampleShard& shard;
    int32_t* const tokens;

    void RowMaxima() const { backend.RowMaxima(stream, logits, 0, shard.maxima); }
    void CutSums(CutKind kind, int digit) const {
      backend.CutSums(stream, batch, logits, shard, kind, digit);
    }
    void NarrowCut(CutKind kind, int digit) const {
      backend.NarrowCut(stream, batch, logits, shard, kind, digit);
    }
    void TypicalSums() const { backend.TypicalSums(stream, batch, logits, shard); }
    void KeptWeights() const { backend.KeptWeights(stream, batch, logits, shard); }
    void DrawTokens() const { backend.DrawTokens(stream, batch, logits, shard); }
    void TakeTokens() const {
      backend.TakeTokens(stream, batch.num_logit_rows, shard.drawn, tokens);
    }
  };

  // The stream of an op. Ops may be called by any thread, one at a time.
  cudaStream_t Handle(Stream& stream) {
    // A failure shows at Synchronize.
    UseDevice(device_.number).IgnoreError();
    return static_cast<CudaStream&>(stream).handle();
  }

  Workspace& workspace() {
    if (workspace_ == nullptr) {
      std::fprintf(stderr, "an op was called before Backend::Reserve\n");
      std::abort();
    }
    return *workspace_;
  }

  // The part of `out`, and of a bias that may be null, that a segment's outputs go to.
  static LinearOutput OutputOf(const Segment& segment, const float* bias, const Tensor& out,
                               bool adds) {
    const size_t offset = static_cast<size_t>(segment.first_output) * BlockBytes(out.dtype);
    return {.data = static_cast<std::byte*>(out.data) + offset,
            .dtype = out.dtype,
            .row_stride = out.cols,
            .bias = bias == nullptr ? nullptr : bias + segment.first_output,
            .adds = adds};
  }

  void Multiply(Stream& stream, const Tensor& x, const PackedLinear& w, const float* bias,
                const Tensor& out, bool adds) {
    if (x.rows == 0) return;
    for (const Segment& segment : static_cast<const CudaLinear&>(w).segments()) {
      const LinearOutput to = OutputOf(segment, bias, out, adds);
      if (library_ != nullptr && library_->Multiply(Handle(stream), x, segment.matrix, to)) {
        continue;
      }
      if (UsesTensorCores(x, segment.matrix)) {
        LaunchTensorCoreLinear(Handle(stream), x, segment.matrix, to);
      } else {
        LaunchLinear(Handle(stream), x, segment.matrix, to);
      }
    }
  }

  void Attend(Stream& stream, const StepBatch& batch, const Tensor& qkv, int local_q_heads,
              float scale, const KvCache& cache, int layer, const Rotation& rotation,
              const Tensor& out) {
    const KvLayer kv = static_cast<const KvArena&>(cache).layer(layer);
    const AttentionWorkspace partials = workspace().AttentionFor(local_q_heads, kv.head_dim);
    if (qkv.dtype == DType::kBF16 && SuitsTensorCores(kv, local_q_heads)) {
      LaunchTensorCoreAttention(Handle(stream), batch, qkv, local_q_heads, scale, kv, rotation,
                                partials, out);
    } else {
      LaunchPagedAttention(Handle(stream), batch, qkv, local_q_heads, scale, kv, rotation, partials,
                           out);
    }
  }

  // The tensor cores take bfloat16; float32 inputs are for those who want float32 results.
  static bool UsesTensorCores(const Tensor& x, const DeviceMatrix& w) {
    return x.dtype == DType::kBF16 && SuitsTensorCores(w);
  }

  const CudaBackendOptions options_;
  const Device device_;
  const std::unique_ptr<WeightUploader> uploader_;
  std::unique_ptr<Workspace> workspace_;
  const std::unique_ptr<LibraryProducts> library_;  // Null if there is none.
};

// Null if none is wanted, or the one that is given does not work.
std::unique_ptr<LibraryProducts> OpenLibrary(const CudaBackendOptions& options,
                                             const Device& device) {
  if (options.determinism != Determinism::kFast || !options.library.has_value()) return nullptr;
  const CudaBackendOptions::Library& wanted = *options.library;
  auto library = LibraryProducts::Create(wanted.api, {.device = device.number,
                                                      .device_name = device.name,
                                                      .major = device.major,
                                                      .minor = device.minor,
                                                      .least_rows = wanted.least_rows,
                                                      .cache_folder = wanted.cache_folder,
                                                      .log = wanted.log});
  if (library.ok()) return *std::move(library);
  wanted.log(absl::StrCat("products of many rows are left to our own kernels: ",
                          library.status().message()));
  return nullptr;
}

absl::StatusOr<Device> OpenDevice(int number) {
  int count = 0;
  if (const cudaError_t error = cudaGetDeviceCount(&count);
      error != cudaSuccess && error != cudaErrorNoDevice) {
    return CudaStatus(error, "looking for GPUs");
  }
  if (number < 0 || number >= count) {
    return absl::NotFoundError(absl::StrCat("there is no GPU ", number, ": this process sees ",
                                            count, " (CUDA_VISIBLE_DEVICES chooses)"));
  }
  if (absl::Status status = UseDevice(number); !status.ok()) return status;
  cudaDeviceProp properties;
  if (absl::Status status =
          CudaStatus(cudaGetDeviceProperties(&properties, number), "asking what GPU there is");
      !status.ok()) {
    return status;
  }
  return Device{number, properties.name, properties.major, properties.minor};
}

}  // namespace

absl::StatusOr<std::unique_ptr<Backend>> MakeCudaBackend(const CudaBackendOptions& options) {
  if (options.activations != DType::kF32 && options.activations != DType::kBF16) {
    return absl::InvalidArgumentError(absl::StrCat(
        "activations of type ", DTypeName(options.activations), ": a GPU computes in F32 or BF16"));
  }
  if (options.loading_threads < 1) {
    return absl::InvalidArgumentError("loading takes at least one thread");
  }
  auto device = OpenDevice(options.device);
  if (!device.ok()) return device.status();
  auto uploader = WeightUploader::Create(options.device, options.loading_threads);
  if (!uploader.ok()) return uploader.status();
  auto library = OpenLibrary(options, *device);
  return std::make_unique<CudaBackend>(options, *std::move(device), *std::move(uploader),
                                       std::move(library));
}

}  // namespace phalanx::kernels
