// SpanTimer by events of the CUDA runtime.
#ifndef PHALANX_KERNELS_CUDA_SPAN_TIMER_H_
#define PHALANX_KERNELS_CUDA_SPAN_TIMER_H_

#include <cuda_runtime_api.h>

#include <cstddef>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "kernels/ops.h"

namespace phalanx::kernels::cuda {

// Has two events for each span, which are kept for the spans after Clear. Times are told to half a
// microsecond or so.
class CudaSpanTimer final : public SpanTimer {
 public:
  explicit CudaSpanTimer(int device) : device_(device) {}
  CudaSpanTimer(const CudaSpanTimer&) = delete;
  CudaSpanTimer& operator=(const CudaSpanTimer&) = delete;
  ~CudaSpanTimer() override;

  void Clear() override { num_events_ = 0; }
  void Begin(Stream& stream) override { RecordNext(stream); }
  void End(Stream& stream) override { RecordNext(stream); }
  absl::StatusOr<absl::Duration> Total() override;

 private:
  // Puts the next event into the stream.
  void RecordNext(Stream& stream);

  const int device_;
  // Begin and end of each span, in turn. The first num_events_ were put into a stream since Clear.
  std::vector<cudaEvent_t> events_;
  size_t num_events_ = 0;
  absl::Status status_;  // The first error of RecordNext.
};

}  // namespace phalanx::kernels::cuda

#endif  // PHALANX_KERNELS_CUDA_SPAN_TIMER_H_
