// TCP, as transports of the suite: without TLS and with it.
#include <memory>
#include <vector>

#include "kernels/reference/reference_backend.h"
#include "worker/comm/net_communicator_factory.h"
#include "worker/comm/testing/communicator_suite.h"
#include "worker/comm/testing/factory_group.h"
#include "worker/net/testing/certificates.h"

namespace phalanx {
namespace {

constexpr char kLoopback[] = "127.0.0.1";

std::vector<std::unique_ptr<Communicator>> MakeGroup(std::shared_ptr<TlsCredentials> credentials,
                                                     int world, absl::Duration timeout) {
  NetCommunicatorFactory factory(
      {.listen_host = kLoopback, .leader_host = kLoopback, .credentials = std::move(credentials)});
  return MakeFactoryGroup(factory, world, timeout);
}

std::vector<std::unique_ptr<Communicator>> MakePlainGroup(int world, absl::Duration timeout) {
  return MakeGroup(nullptr, world, timeout);
}

std::vector<std::unique_ptr<Communicator>> MakeTlsGroup(int world, absl::Duration timeout) {
  static const auto* const credentials =
      new std::shared_ptr<TlsCredentials>(testing::Authority("suite").Credentials("rank"));
  return MakeGroup(*credentials, world, timeout);
}

}  // namespace

std::vector<TransportUnderTest> AllTransports() {
  return {{.name = "Net",
           .tells_of_end = true,
           .make_backend = kernels::MakeReferenceBackend,
           .make_group = MakePlainGroup},
          {.name = "NetTls",
           .tells_of_end = true,
           .make_backend = kernels::MakeReferenceBackend,
           .make_group = MakeTlsGroup}};
}

}  // namespace phalanx
