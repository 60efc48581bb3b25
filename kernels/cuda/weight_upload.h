// Linear layers in device memory, in the layout of weight_layout.h.
#ifndef PHALANX_KERNELS_CUDA_WEIGHT_UPLOAD_H_
#define PHALANX_KERNELS_CUDA_WEIGHT_UPLOAD_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "kernels/cuda/cuda_memory.h"
#include "kernels/cuda/weight_layout.h"
#include "kernels/ops.h"

namespace phalanx::kernels::cuda {

// Some of a layer's outputs whose weights are of one format.
struct Segment {
  DeviceMatrix matrix;
  int64_t first_output = 0;
};

class CudaLinear final : public PackedLinear {
 public:
  CudaLinear(std::unique_ptr<CudaBuffer> memory, std::vector<Segment> segments);

  int64_t in_features() const override { return segments_[0].matrix.in_features; }
  int64_t out_features() const override { return out_features_; }
  size_t bytes() const override { return memory_->bytes(); }
  absl::Span<const Segment> segments() const { return segments_; }
  std::weak_ptr<const CudaBuffer> memory() const { return memory_; }

 private:
  const std::shared_ptr<const CudaBuffer> memory_;
  const std::vector<Segment> segments_;
  int64_t out_features_ = 0;
};

class CudaGatedLinear final : public PackedGatedLinear {
 public:
  // `linear` has two segments: gate and up.
  explicit CudaGatedLinear(std::unique_ptr<CudaLinear> linear) : linear_(std::move(linear)) {}

  int64_t in_features() const override { return linear_->in_features(); }
  int64_t out_features() const override { return linear_->out_features() / 2; }
  size_t bytes() const override { return linear_->bytes(); }
  const DeviceMatrix& gate() const { return linear_->segments()[0].matrix; }
  const DeviceMatrix& up() const { return linear_->segments()[1].matrix; }
  std::weak_ptr<const CudaBuffer> memory() const { return linear_->memory(); }

 private:
  const std::unique_ptr<CudaLinear> linear_;
};

// Bytes of a CudaLinear with a segment for each size.
size_t LinearBytesOnDevice(absl::Span<const LinearSize> sizes);

// Sizes of the sources after neighbours of one type have become one. A layer of fewer segments is
// computed by fewer kernels.
std::vector<LinearSize> MergeNeighbours(absl::Span<const LinearSize> sizes);

// Brings weights to the device through two pieces of pinned memory: while one is copied, threads
// put the next rows in order in the other.
class WeightUploader {
 public:
  // `threads` is at least 1.
  static absl::StatusOr<std::unique_ptr<WeightUploader>> Create(int device, int threads);

  // One segment for each source. Sources are as CheckLinearSources demands, but need not have the
  // same type.
  absl::StatusOr<std::unique_ptr<CudaLinear>> Upload(absl::Span<const LinearSource> sources);

  // The same after neighbours of one type have become one, as in MergeNeighbours.
  absl::StatusOr<std::unique_ptr<CudaLinear>> UploadMerged(absl::Span<const LinearSource> sources);

 private:
  // A piece of pinned memory and the copy from it that may still run.
  struct Stage {
    std::unique_ptr<PinnedBuffer> memory;
    std::unique_ptr<CudaStream> stream;
  };

  WeightUploader(int device, int threads) : device_(device), threads_(threads) {}

  // Copies `units` units of `unit_bytes` to `to`; fill(unit, at) writes one, on any thread.
  absl::Status Copy(std::byte* to, int64_t units, size_t unit_bytes,
                    const std::function<void(int64_t unit, std::byte* at)>& fill);

  const int device_;
  const int threads_;
  std::array<Stage, 2> stages_;
  int next_stage_ = 0;
};

}  // namespace phalanx::kernels::cuda

#endif  // PHALANX_KERNELS_CUDA_WEIGHT_UPLOAD_H_
