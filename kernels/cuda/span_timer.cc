#include "kernels/cuda/span_timer.h"

#include "kernels/cuda/cuda_memory.h"
#include "kernels/cuda/cuda_status.h"

namespace phalanx::kernels::cuda {

CudaSpanTimer::~CudaSpanTimer() {
  for (const cudaEvent_t event : events_) cudaEventDestroy(event);
}

void CudaSpanTimer::RecordNext(Stream& stream) {
  if (status_.ok()) status_ = UseDevice(device_);
  if (!status_.ok()) return;
  const auto check = [this](cudaError_t error) {
    if (status_.ok()) status_ = CudaStatus(error, "timing a part of a step");
    return status_.ok();
  };
  if (num_events_ == events_.size()) {
    cudaEvent_t event = nullptr;
    if (!check(cudaEventCreateWithFlags(&event, cudaEventDefault))) return;
    events_.push_back(event);
  }
  const cudaStream_t handle = static_cast<CudaStream&>(stream).handle();
  cudaStreamCaptureStatus capture = cudaStreamCaptureStatusNone;
  if (!check(cudaStreamIsCapturing(handle, &capture))) return;
  // Without the flag an event that is recorded orders the graph's nodes, and is none itself.
  const unsigned flags =
      capture == cudaStreamCaptureStatusNone ? cudaEventRecordDefault : cudaEventRecordExternal;
  if (check(cudaEventRecordWithFlags(events_[num_events_], handle, flags))) ++num_events_;
}

absl::StatusOr<absl::Duration> CudaSpanTimer::Total() {
  if (status_.ok()) status_ = UseDevice(device_);
  if (!status_.ok()) return status_;
  absl::Duration total;
  for (size_t i = 0; i + 1 < num_events_; i += 2) {
    float milliseconds = 0;
    if (absl::Status status =
            CudaStatus(cudaEventElapsedTime(&milliseconds, events_[i], events_[i + 1]),
                       "timing a part of a step");
        !status.ok()) {
      return status;
    }
    total += absl::Milliseconds(milliseconds);
  }
  return total;
}

}  // namespace phalanx::kernels::cuda
