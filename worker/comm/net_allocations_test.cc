// A test of its own, because it replaces operator new.
#include <memory>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/reference/reference_backend.h"
#include "model/testing/allocated_bytes.h"
#include "worker/comm/net_communicator_factory.h"
#include "worker/comm/testing/factory_group.h"

namespace phalanx {
namespace {

constexpr int kWorld = 3;
constexpr int kCalls = 20;
constexpr int kWarm = 10;

// Returns how many allocations the process made from the warm calls on to the last. The barriers
// see to it that all ranks are warm, and that none has left, as long as this one counts.
size_t CountAllocations(Communicator& comm, int64_t count) {
  const auto backend = kernels::MakeReferenceBackend();
  const auto stream = backend->NewStream();
  std::vector<float> data(count);
  size_t before = 0;
  for (int i = 0; i < kCalls; ++i) {
    if (i == kWarm) {
      EXPECT_TRUE(comm.Barrier().ok());
      before = Allocations();
    }
    EXPECT_TRUE(comm.AllReduceSum(*stream, {data.data(), kernels::DType::kF32, 1, count}).ok());
  }
  const size_t after = Allocations();
  EXPECT_TRUE(comm.Barrier().ok());
  return after - before;
}

TEST(NetAllocationsTest, CallsDoNotAllocateOnceTheyAreWarm) {
  // Sent in one piece, and by parts.
  for (const int64_t count : {int64_t{576}, int64_t{500'000}}) {
    NetCommunicatorFactory factory({.listen_host = "127.0.0.1", .leader_host = "127.0.0.1"});
    const auto group = MakeFactoryGroup(factory, kWorld, absl::Minutes(1));
    std::vector<std::thread> others;
    for (int rank = 1; rank < kWorld; ++rank) {
      others.emplace_back([&, rank] { CountAllocations(*group[rank], count); });
    }
    EXPECT_EQ(CountAllocations(*group[0], count), 0u) << count;
    for (std::thread& other : others) other.join();
  }
}

}  // namespace
}  // namespace phalanx
