#include "kernels/cuda/find_cublaslt.h"

namespace phalanx::kernels::cuda {

absl::StatusOr<CublasLtApi> FindCublasLt() { return LoadCublasLt(); }

}  // namespace phalanx::kernels::cuda
