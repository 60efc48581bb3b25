#include "kernels/cuda/recording.h"

#include "kernels/cuda/cuda_status.h"

namespace phalanx::kernels::cuda {

absl::StatusOr<std::unique_ptr<CudaRecording>> CudaRecording::Create(
    cudaStream_t stream, absl::FunctionRef<absl::Status()> ops) {
  absl::Status status = CudaStatus(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal),
                                   "recording a step");
  if (!status.ok()) return status;
  status = ops();
  cudaGraph_t graph = nullptr;
  const cudaError_t ended = cudaStreamEndCapture(stream, &graph);
  if (!status.ok()) {
    if (ended == cudaSuccess) cudaGraphDestroy(graph);
    return status;
  }
  if (status = CudaStatus(ended, "recording a step"); !status.ok()) return status;
  cudaGraphExec_t executable = nullptr;
  const cudaError_t error = cudaGraphInstantiate(&executable, graph, 0);
  cudaGraphDestroy(graph);
  if (status = CudaStatus(error, "making a graph of a step"); !status.ok()) return status;
  return std::unique_ptr<CudaRecording>(new CudaRecording(executable));
}

}  // namespace phalanx::kernels::cuda
