// Where a program gets NCCL from. Programs are linked with find_nccl.cc, or in tests with a
// stand-in.
#ifndef PHALANX_WORKER_COMM_FIND_NCCL_H_
#define PHALANX_WORKER_COMM_FIND_NCCL_H_

#include "absl/status/statusor.h"
#include "worker/comm/nccl_api.h"

namespace phalanx {

// As LoadNccl.
absl::StatusOr<NcclApi> FindNccl();

}  // namespace phalanx

#endif  // PHALANX_WORKER_COMM_FIND_NCCL_H_
