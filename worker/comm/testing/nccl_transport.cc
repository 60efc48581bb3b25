// NCCL, as transport of the suite: the stand-in, with kernels on the emulator.
#include <memory>
#include <utility>
#include <vector>

#include "base/log.h"
#include "kernels/cuda/cuda_backend.h"
#include "worker/comm/nccl_communicator_factory.h"
#include "worker/comm/testing/communicator_suite.h"
#include "worker/comm/testing/nccl_stand_in.h"

namespace phalanx {
namespace {

std::unique_ptr<kernels::Backend> MakeBackend() {
  auto backend = kernels::MakeCudaBackend({.activations = kernels::DType::kF32});
  CHECK_OK(backend.status());
  return *std::move(backend);
}

std::vector<std::unique_ptr<Communicator>> MakeGroup(int world, absl::Duration timeout) {
  // Messages of the suite are summed in one piece, in several, and in a rest.
  NcclCommunicatorFactory factory(NcclStandIn(), {.workspace_elements = 40000});
  auto meeting = factory.Meet(world, timeout);
  CHECK_OK(meeting.status());
  std::vector<std::unique_ptr<Communicator>> group;
  group.push_back(std::move(meeting->communicator));
  for (int rank = 1; rank < world; ++rank) {
    auto joined = factory.Join(meeting->invitation, rank, world, timeout);
    CHECK_OK(joined.status());
    group.push_back(*std::move(joined));
  }
  return group;
}

}  // namespace

std::vector<TransportUnderTest> AllTransports() {
  return {{.name = "Nccl",
           .runs_at_once = false,
           .tells_of_abort = false,
           // Each goes through several threads of the stand-in and of the emulator.
           .random_operations = 2'000,
           .make_backend = MakeBackend,
           .make_group = MakeGroup}};
}

}  // namespace phalanx
