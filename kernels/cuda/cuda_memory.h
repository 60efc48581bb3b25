// Memory of one GPU, streams on it, and pinned memory of the host.
#ifndef PHALANX_KERNELS_CUDA_CUDA_MEMORY_H_
#define PHALANX_KERNELS_CUDA_CUDA_MEMORY_H_

#include <cuda_runtime_api.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <memory>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "kernels/ops.h"

namespace phalanx::kernels::cuda {

// Makes `device` the one that this thread's calls of the CUDA runtime are about.
absl::Status UseDevice(int device);

// Device memory. Zeroed when made, and aligned to 256 bytes.
class CudaBuffer final : public Buffer {
 public:
  // RESOURCE_EXHAUSTED, telling what the memory was wanted for, its bytes and how many are free, if
  // it is not there.
  static absl::StatusOr<std::unique_ptr<CudaBuffer>> Create(int device, size_t bytes,
                                                            absl::string_view purpose);
  CudaBuffer(const CudaBuffer&) = delete;
  CudaBuffer& operator=(const CudaBuffer&) = delete;
  ~CudaBuffer() override;

  void* data() override { return data_; }
  std::byte* bytes_at(size_t offset) const { return static_cast<std::byte*>(data_) + offset; }
  size_t bytes() const override { return bytes_; }

 private:
  CudaBuffer(void* data, size_t bytes) : data_(data), bytes_(bytes) {}

  void* const data_;
  const size_t bytes_;
};

// Memory of the host that the device can copy from and to while the host goes on. Zeroed when made.
class PinnedBuffer final : public Buffer {
 public:
  // RESOURCE_EXHAUSTED if the system gives none.
  static absl::StatusOr<std::unique_ptr<PinnedBuffer>> Create(size_t bytes);
  PinnedBuffer(const PinnedBuffer&) = delete;
  PinnedBuffer& operator=(const PinnedBuffer&) = delete;
  ~PinnedBuffer() override;

  void* data() override { return data_; }
  std::byte* at(size_t offset) const { return data_ + offset; }
  size_t bytes() const override { return bytes_; }

 private:
  PinnedBuffer(std::byte* data, size_t bytes) : data_(data), bytes_(bytes) {}

  std::byte* const data_;
  const size_t bytes_;
};

class CudaStream final : public Stream {
 public:
  static absl::StatusOr<std::unique_ptr<CudaStream>> Create(int device);
  CudaStream(const CudaStream&) = delete;
  CudaStream& operator=(const CudaStream&) = delete;
  ~CudaStream() override;

  cudaStream_t handle() const { return handle_; }

  using Stream::Synchronize;
  // Looks at the stream again and again, for a short while without pause: a step of decoding takes
  // a few milliseconds, and waking a thread that sleeps takes some of these.
  absl::Status Synchronize(absl::Duration timeout) override;
  void Mark(int mark) override;
  absl::Status AwaitMark(int mark, absl::Duration timeout) override;
  void Abort() override { aborted_ = true; }

 private:
  CudaStream(int device, cudaStream_t handle) : device_(device), handle_(handle) {}
  // Waits until query() is not cudaErrorNotReady.
  absl::Status Poll(absl::FunctionRef<cudaError_t()> query, absl::Duration timeout);

  const int device_;
  const cudaStream_t handle_;
  std::array<cudaEvent_t, kMarks> marks_ = {};
  std::atomic<bool> aborted_ = false;
};

}  // namespace phalanx::kernels::cuda

#endif  // PHALANX_KERNELS_CUDA_CUDA_MEMORY_H_
