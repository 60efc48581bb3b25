// Ranks that are threads and find each other by bytes alone, without a descriptor, as over a
// network.
#ifndef PHALANX_WORKER_GROUP_TESTING_NAMED_COMMUNICATOR_FACTORY_H_
#define PHALANX_WORKER_GROUP_TESTING_NAMED_COMMUNICATOR_FACTORY_H_

#include <memory>
#include <string>

#include "gtest/gtest.h"
#include "worker/comm/communicator_factory.h"
#include "worker/comm/communicator_segment.h"
#include "worker/comm/shm_communicator.h"

namespace phalanx {

class NamedCommunicatorFactory final : public CommunicatorFactory {
 public:
  absl::StatusOr<Meeting> Meet(int world, absl::Duration timeout) override {
    segment_ = *CommunicatorSegment::Create(world);
    return Meeting{std::make_unique<ShmCommunicator>(segment_, 0,
                                                     ShmCommunicator::Options{.timeout = timeout}),
                   {.rendezvous = kName}};
  }
  absl::StatusOr<std::unique_ptr<Communicator>> Join(const Invitation& invitation, int rank,
                                                     int world, absl::Duration timeout) override {
    EXPECT_EQ(invitation.fd, -1);
    if (invitation.rendezvous != kName) return absl::InvalidArgumentError("not the name");
    return std::make_unique<ShmCommunicator>(segment_, rank,
                                             ShmCommunicator::Options{.timeout = timeout});
  }

 private:
  // Bytes that no text has.
  const std::string kName = std::string("\0\xff\x80 name", 8);
  std::shared_ptr<CommunicatorSegment> segment_;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_GROUP_TESTING_NAMED_COMMUNICATOR_FACTORY_H_
