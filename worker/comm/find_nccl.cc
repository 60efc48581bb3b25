#include "worker/comm/find_nccl.h"

namespace phalanx {

absl::StatusOr<NcclApi> FindNccl() { return LoadNccl(); }

}  // namespace phalanx
