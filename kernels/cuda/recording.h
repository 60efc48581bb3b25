// Ops that are recorded as a CUDA graph, for Backend::Record.
#ifndef PHALANX_KERNELS_CUDA_RECORDING_H_
#define PHALANX_KERNELS_CUDA_RECORDING_H_

#include <cuda_runtime_api.h>

#include <memory>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/ops.h"

namespace phalanx::kernels::cuda {

class CudaRecording final : public Recording {
 public:
  // Records what `ops` queues on `stream`, in place of running it. The error of `ops`, or INTERNAL.
  static absl::StatusOr<std::unique_ptr<CudaRecording>> Create(
      cudaStream_t stream, absl::FunctionRef<absl::Status()> ops);
  CudaRecording(const CudaRecording&) = delete;
  CudaRecording& operator=(const CudaRecording&) = delete;
  ~CudaRecording() override { cudaGraphExecDestroy(graph_); }

  // Queues it all.
  void Replay(cudaStream_t stream) const { cudaGraphLaunch(graph_, stream); }

 private:
  explicit CudaRecording(cudaGraphExec_t graph) : graph_(graph) {}

  const cudaGraphExec_t graph_;
};

}  // namespace phalanx::kernels::cuda

#endif  // PHALANX_KERNELS_CUDA_RECORDING_H_
