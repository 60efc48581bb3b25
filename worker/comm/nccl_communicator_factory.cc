#include "worker/comm/nccl_communicator_factory.h"

#include <unistd.h>

#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "kernels/cuda/cuda_memory.h"

namespace phalanx {

NcclCommunicator::Options NcclCommunicatorFactory::CommunicatorOptions(
    absl::Duration timeout) const {
  return {.device = options_.device,
          .determinism = options_.determinism,
          .timeout = timeout,
          .workspace_elements = options_.workspace_elements};
}

absl::StatusOr<CommunicatorFactory::Meeting> NcclCommunicatorFactory::Meet(int world,
                                                                           absl::Duration timeout) {
  NcclUniqueId id = {};
  Meeting meeting;
  if (world > 1) {
    RETURN_IF_ERROR(kernels::cuda::UseDevice(options_.device));
    RETURN_IF_ERROR(
        NcclStatus(api_, nullptr, api_.GetUniqueId(&id), "making an id for a communicator"));
    meeting.invitation.rendezvous.assign(id.bytes, sizeof(id.bytes));
  }
  ASSIGN_OR_RETURN(meeting.communicator, NcclCommunicator::Create(api_, id, /*rank=*/0, world,
                                                                  CommunicatorOptions(timeout)));
  return meeting;
}

absl::StatusOr<std::unique_ptr<Communicator>> NcclCommunicatorFactory::Join(
    const Invitation& invitation, int rank, int world, absl::Duration timeout) {
  // A leader with another transport may have sent one.
  if (invitation.fd >= 0) close(invitation.fd);
  NcclUniqueId id = {};
  if (invitation.rendezvous.size() != sizeof(id.bytes)) {
    return absl::InvalidArgumentError(
        absl::StrCat("the leader's invitation is no id of NCCL: it has ",
                     invitation.rendezvous.size(), " bytes instead of ", sizeof(id.bytes)));
  }
  std::memcpy(id.bytes, invitation.rendezvous.data(), sizeof(id.bytes));
  return NcclCommunicator::Create(api_, id, rank, world, CommunicatorOptions(timeout));
}

}  // namespace phalanx
