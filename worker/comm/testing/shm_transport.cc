// Shared memory, as transports of the suite: one mapping for all ranks, and one for each as in
// processes.
#include <memory>
#include <vector>

#include "kernels/reference/reference_backend.h"
#include "worker/comm/shm_communicator.h"
#include "worker/comm/shm_communicator_factory.h"
#include "worker/comm/testing/communicator_suite.h"
#include "worker/comm/testing/factory_group.h"

namespace phalanx {

std::vector<TransportUnderTest> AllTransports() {
  return {{.name = "Local",
           .make_backend = kernels::MakeReferenceBackend,
           .make_group =
               [](int world, absl::Duration timeout) {
                 return MakeLocalGroup(world, {.timeout = timeout});
               }},
          {.name = "Shm",
           .make_backend = kernels::MakeReferenceBackend,
           .make_group = [](int world, absl::Duration timeout) {
             ShmCommunicatorFactory factory;
             return MakeFactoryGroup(factory, world, timeout);
           }}};
}

}  // namespace phalanx
