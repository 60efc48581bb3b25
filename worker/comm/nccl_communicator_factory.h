// Ranks that have a GPU each and meet by NCCL.
#ifndef PHALANX_WORKER_COMM_NCCL_COMMUNICATOR_FACTORY_H_
#define PHALANX_WORKER_COMM_NCCL_COMMUNICATOR_FACTORY_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "kernels/ops.h"
#include "worker/comm/communicator_factory.h"
#include "worker/comm/nccl_api.h"
#include "worker/comm/nccl_communicator.h"

namespace phalanx {

// The invitation is NCCL's unique id, without a descriptor. Meet and Join do not wait for other
// ranks. For a group of one no function of the table is called, so that it may be empty.
class NcclCommunicatorFactory final : public CommunicatorFactory {
 public:
  struct Options {
    int device = 0;  // Of this process's rank.
    kernels::Determinism determinism = kernels::Determinism::kStrict;
    int64_t workspace_elements = NcclCommunicator::Options().workspace_elements;
  };

  // `api` is lent for the life of the factory and of its communicators.
  NcclCommunicatorFactory(const NcclApi& api, const Options& options)
      : api_(api), options_(options) {}

  absl::StatusOr<Meeting> Meet(int world, absl::Duration timeout) override;
  absl::StatusOr<std::unique_ptr<Communicator>> Join(const Invitation& invitation, int rank,
                                                     int world, absl::Duration timeout) override;

 private:
  NcclCommunicator::Options CommunicatorOptions(absl::Duration timeout) const;

  const NcclApi& api_;
  const Options options_;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_COMM_NCCL_COMMUNICATOR_FACTORY_H_
