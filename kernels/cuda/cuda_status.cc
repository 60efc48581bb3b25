#include "kernels/cuda/cuda_status.h"

#include "absl/strings/str_cat.h"

namespace phalanx::kernels::cuda {
namespace {

// What an operator can do about an error that the device does not recover from.
absl::string_view Advice(cudaError_t error) {
  switch (error) {
    case cudaErrorECCUncorrectable:
      return ": the GPU's memory has a fault that it cannot correct; drain the node and look at "
             "`nvidia-smi -q -d ECC`";
    case cudaErrorDevicesUnavailable:
    case cudaErrorHardwareStackError:
      return ": the GPU does not answer, it may have fallen off the bus; look for \"Xid\" in the "
             "kernel's log";
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchFailure:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorAssert:
      return ": a fault of a kernel; the process cannot use the GPU any more";
    case cudaErrorNoKernelImageForDevice:
    case cudaErrorUnsupportedPtxVersion:
      return ": this program has no code for this GPU; docs/gpu.md tells which ones it has code "
             "for";
    case cudaErrorInsufficientDriver:
    case cudaErrorSystemDriverMismatch:
      return ": the driver is older than the program needs; docs/gpu.md tells which one it needs";
    default:
      return "";
  }
}

}  // namespace

absl::Status CudaStatus(cudaError_t error, absl::string_view doing) {
  if (error == cudaSuccess) return absl::OkStatus();
  const auto code = error == cudaErrorMemoryAllocation ? absl::StatusCode::kResourceExhausted
                                                       : absl::StatusCode::kInternal;
  return absl::Status(code, absl::StrCat(doing, ": ", cudaGetErrorName(error), ", ",
                                         cudaGetErrorString(error), Advice(error)));
}

}  // namespace phalanx::kernels::cuda
