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
#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/kv_arena.h"
#include "kernels/cuda/library_products.h"
#include "kernels/cuda/open_device.h"
#include "kernels/cuda/products.h"
#include "kernels/cuda/recording.h"
#include "kernels/cuda/sampling_ops.h"
#include "kernels/cuda/span_timer.h"
#include "kernels/cuda/tensor_core_attention.h"
#include "kernels/cuda/weight_upload.h"
#include "kernels/cuda/workspace.h"
#include "kernels/linear_source.h"

namespace phalanx::kernels {
namespace {

using namespace cuda;  // NOLINT: all of it is this backend's own.

// Sizes of decode batches that steps are filled up to, so that a recording serves several. Past the
// last one steps keep their size.
constexpr std::array<int, 13> kDecodeBatchSizes = {1,  2,  4,  8,   16,  24, 32,
                                                   48, 64, 96, 128, 192, 256};

class CudaBackend final : public CudaSamplingOps {
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
    auto recording = CudaRecording::Create(Handle(stream), ops);
    if (!recording.ok()) return recording.status();
    return std::unique_ptr<Recording>(*std::move(recording));
  }

  void Replay(Stream& stream, const Recording& recording) override {
    static_cast<const CudaRecording&>(recording).Replay(Handle(stream));
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
    products_.Multiply(Handle(stream), x, static_cast<const CudaLinear&>(w),
                       static_cast<const float*>(bias.data), out, /*adds=*/false);
  }

  void LinearAdd(Stream& stream, Tensor x, const PackedLinear& w, Tensor residual) override {
    CheckTensors(Op::kLinearAdd, {x, residual});
    products_.Multiply(Handle(stream), x, static_cast<const CudaLinear&>(w), /*bias=*/nullptr,
                       residual, /*adds=*/true);
  }

  void GatedLinear(Stream& stream, Tensor x, const PackedGatedLinear& w, Tensor out) override {
    CheckTensors(Op::kGatedLinear, {x, out});
    products_.MultiplyGated(Handle(stream), x, static_cast<const CudaGatedLinear&>(w), out);
  }

  void NormLinear(Stream& stream, Tensor residual, Tensor norm_weight, float eps, Tensor normed,
                  const PackedLinear& w, Tensor bias, Tensor out) override {
    CheckTensors(Op::kNormLinear, {residual, norm_weight, normed, bias, out});
    if (!products_.MultiplyNorm(Handle(stream), {residual, norm_weight, eps}, normed.dtype,
                                static_cast<const CudaLinear&>(w),
                                static_cast<const float*>(bias.data), out)) {
      Backend::NormLinear(stream, residual, norm_weight, eps, normed, w, bias, out);
    }
  }

  void NormGatedLinear(Stream& stream, Tensor residual, Tensor norm_weight, float eps,
                       Tensor normed, const PackedGatedLinear& w, Tensor out) override {
    CheckTensors(Op::kNormGatedLinear, {residual, norm_weight, normed, out});
    if (!products_.MultiplyNormGated(Handle(stream), {residual, norm_weight, eps}, normed.dtype,
                                     static_cast<const CudaGatedLinear&>(w), out)) {
      Backend::NormGatedLinear(stream, residual, norm_weight, eps, normed, w, out);
    }
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

 private:
  // The stream of an op. Ops may be called by any thread, one at a time.
  cudaStream_t Handle(Stream& stream) override {
    // A failure shows at Synchronize.
    UseDevice(device_.number).IgnoreError();
    return static_cast<CudaStream&>(stream).handle();
  }

  Workspace& workspace() override {
    if (workspace_ == nullptr) {
      std::fprintf(stderr, "an op was called before Backend::Reserve\n");
      std::abort();
    }
    return *workspace_;
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

  const CudaBackendOptions options_;
  const Device device_;
  const std::unique_ptr<WeightUploader> uploader_;
  std::unique_ptr<Workspace> workspace_;
  const std::unique_ptr<LibraryProducts> library_;  // Null if there is none.
  Products products_{library_.get()};
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
