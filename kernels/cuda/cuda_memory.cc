#include "kernels/cuda/cuda_memory.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <thread>

#include "absl/strings/str_cat.h"
#include "kernels/cuda/cuda_status.h"

namespace phalanx::kernels::cuda {
namespace {

using Clock = std::chrono::steady_clock;

// A stream that is not done after this is looked at with pauses: its step has many tokens, or
// something is wrong.
constexpr auto kSpinTime = std::chrono::milliseconds(20);
constexpr auto kPause = std::chrono::microseconds(50);

// cudaMalloc takes no empty piece; a buffer of no bytes still has an address.
size_t AllocatedBytes(size_t bytes) { return std::max<size_t>(bytes, 1); }

}  // namespace

absl::Status UseDevice(int device) {
  thread_local int current = -1;
  if (current == device) return absl::OkStatus();
  if (absl::Status status =
          CudaStatus(cudaSetDevice(device), absl::StrCat("choosing GPU ", device));
      !status.ok())
    return status;
  current = device;
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<CudaBuffer>> CudaBuffer::Create(int device, size_t bytes,
                                                               absl::string_view purpose) {
  if (absl::Status status = UseDevice(device); !status.ok()) return status;
  void* data = nullptr;
  const cudaError_t error = cudaMalloc(&data, AllocatedBytes(bytes));
  if (error == cudaErrorMemoryAllocation) {
    cudaGetLastError();  // It is no fault that later calls should see.
    size_t free = 0;
    size_t total = 0;
    cudaMemGetInfo(&free, &total);
    return absl::ResourceExhaustedError(
        absl::StrCat("GPU ", device, " has no memory for ", purpose, ": ", bytes,
                     " bytes are wanted, ", free, " of ", total,
                     " are free; give --kv_cache_tokens, lower --max_step_tokens or --max_seqs, "
                     "or use more GPUs (--tp)"));
  }
  if (absl::Status status = CudaStatus(error, absl::StrCat("allocating ", purpose)); !status.ok())
    return status;
  auto buffer = std::unique_ptr<CudaBuffer>(new CudaBuffer(data, bytes));
  auto made_stream = CudaStream::Create(device);
  if (!made_stream.ok()) return made_stream.status();
  const std::unique_ptr<CudaStream> stream = *std::move(made_stream);
  if (absl::Status status =
          CudaStatus(cudaMemsetAsync(data, 0, AllocatedBytes(bytes), stream->handle()), purpose);
      !status.ok())
    return status;
  if (absl::Status status = stream->Synchronize(); !status.ok()) return status;
  return buffer;
}

CudaBuffer::~CudaBuffer() { cudaFree(data_); }

absl::StatusOr<std::unique_ptr<PinnedBuffer>> PinnedBuffer::Create(size_t bytes) {
  void* data = nullptr;
  const cudaError_t error = cudaHostAlloc(&data, AllocatedBytes(bytes), cudaHostAllocPortable);
  if (absl::Status status = CudaStatus(
          error, absl::StrCat("allocating ", bytes, " bytes of pinned memory of the host"));
      !status.ok())
    return status;
  std::memset(data, 0, AllocatedBytes(bytes));
  return std::unique_ptr<PinnedBuffer>(new PinnedBuffer(static_cast<std::byte*>(data), bytes));
}

PinnedBuffer::~PinnedBuffer() { cudaFreeHost(data_); }

absl::StatusOr<std::unique_ptr<CudaStream>> CudaStream::Create(int device) {
  if (absl::Status status = UseDevice(device); !status.ok()) return status;
  cudaStream_t handle = nullptr;
  if (absl::Status status =
          CudaStatus(cudaStreamCreateWithFlags(&handle, cudaStreamNonBlocking), "making a stream");
      !status.ok())
    return status;
  auto stream = std::unique_ptr<CudaStream>(new CudaStream(device, handle));
  for (cudaEvent_t& mark : stream->marks_) {
    const cudaError_t error = cudaEventCreateWithFlags(&mark, cudaEventDisableTiming);
    if (absl::Status status = CudaStatus(error, "making an event"); !status.ok()) return status;
  }
  return stream;
}

CudaStream::~CudaStream() {
  // After a fault these fail, and nothing is to be done about that.
  for (const cudaEvent_t mark : marks_) {
    if (mark != nullptr) cudaEventDestroy(mark);
  }
  cudaStreamDestroy(handle_);
}

absl::Status CudaStream::Synchronize(absl::Duration timeout) {
  return Poll([this] { return cudaStreamQuery(handle_); }, timeout);
}

void CudaStream::Mark(int mark) {
  if (UseDevice(device_).ok()) cudaEventRecord(marks_[mark], handle_);
}

absl::Status CudaStream::AwaitMark(int mark, absl::Duration timeout) {
  return Poll([this, mark] { return cudaEventQuery(marks_[mark]); }, timeout);
}

absl::Status CudaStream::Poll(absl::FunctionRef<cudaError_t()> query, absl::Duration timeout) {
  if (absl::Status status = UseDevice(device_); !status.ok()) return status;
  const Clock::time_point start = Clock::now();
  while (true) {
    if (aborted_) return absl::AbortedError("the stream was aborted");
    // Errors of launches are told here too: ops have no status of their own.
    if (const cudaError_t error = cudaGetLastError();
        error != cudaSuccess && error != cudaErrorNotReady) {
      return CudaStatus(error, "computing a step");
    }
    const cudaError_t state = query();
    if (state == cudaSuccess) return absl::OkStatus();
    if (state != cudaErrorNotReady) return CudaStatus(state, "computing a step");
    const auto waited = Clock::now() - start;
    if (absl::FromChrono(waited) > timeout) {
      return absl::DeadlineExceededError(
          absl::StrCat("the GPU did not finish within ", absl::FormatDuration(timeout)));
    }
    if (waited > kSpinTime) std::this_thread::sleep_for(kPause);
  }
}

}  // namespace phalanx::kernels::cuda
