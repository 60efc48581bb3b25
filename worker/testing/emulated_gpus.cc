// What GPUs the worker with an emulator sees, and how these meet.
#include "kernels/cuda/find_cublaslt.h"
#include "kernels/cuda/testing/cublaslt_stand_in.h"
#include "kernels/cuda/testing/emulator.h"
#include "worker/comm/find_nccl.h"
#include "worker/comm/testing/nccl_stand_in.h"

namespace {

// Before main, which knows nothing of an emulator.
const bool emulated_gpus = [] {
  phalanx::kernels::cuda::emulator::SetDevices(2, size_t{4} << 30);
  return true;
}();

}  // namespace

namespace phalanx {

absl::StatusOr<NcclApi> FindNccl() { return NcclStandIn(); }

namespace kernels::cuda {

absl::StatusOr<CublasLtApi> FindCublasLt() { return CublasLtStandIn(); }

}  // namespace kernels::cuda
}  // namespace phalanx
