// Shared memory, as transport of the suite.
#include <vector>

#include "kernels/reference/reference_backend.h"
#include "worker/comm/shm_communicator.h"
#include "worker/comm/testing/communicator_suite.h"

namespace phalanx {

std::vector<TransportUnderTest> AllTransports() {
  return {{.name = "Shm",
           .make_backend = kernels::MakeReferenceBackend,
           .make_group = [](int world, absl::Duration timeout) {
             return MakeLocalGroup(world, {.timeout = timeout});
           }}};
}

}  // namespace phalanx
