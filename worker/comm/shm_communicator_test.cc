// What shared memory does beyond what every transport does (testing/communicator_suite.h).
#include "worker/comm/shm_communicator.h"

#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/reference/reference_backend.h"

namespace phalanx {
namespace {

using kernels::DType;

// The data is on the host and done when a call returns.
TEST(ShmCommunicatorTest, DataNeedNotBeAligned) {
  const std::vector<std::unique_ptr<Communicator>> group = MakeLocalGroup(2);
  const auto sum = [&](int rank) {
    const std::unique_ptr<kernels::Backend> backend = kernels::MakeReferenceBackend();
    const std::unique_ptr<kernels::Stream> stream = backend->NewStream();
    std::vector<float> data(101, static_cast<float>(rank + 1));
    ASSERT_TRUE(group[rank]->AllReduceSum(*stream, {&data[1], DType::kF32, 10, 10}).ok());
    std::vector<float> expected(101, 3);
    expected[0] = static_cast<float>(rank + 1);
    EXPECT_EQ(data, expected);
  };
  std::thread other([&] { sum(1); });
  sum(0);
  other.join();
}

TEST(ShmCommunicatorTest, WaitingForOthersIsCountedAndComingLastIsNot) {
  auto segment = CommunicatorSegment::Create(2);
  ASSERT_TRUE(segment.ok());
  ShmCommunicator comm(*segment, 0, {.timeout = absl::Milliseconds(20)});
  (*segment)->Arrive(1, 1);
  ASSERT_TRUE(comm.Barrier().ok());
  EXPECT_EQ(comm.wait_time(), absl::ZeroDuration());
  ASSERT_FALSE(comm.Barrier().ok());
  EXPECT_GE(comm.wait_time(), absl::Milliseconds(20));
}

TEST(ShmCommunicatorFailureTest, AbortOfAPeerWakesASleepingRankAndStays) {
  std::vector<std::unique_ptr<Communicator>> group = MakeLocalGroup(2, {.spins = 0});
  std::thread waiting([&] {
    EXPECT_EQ(group[0]->Barrier().code(), absl::StatusCode::kAborted);
    EXPECT_EQ(group[0]->Barrier().code(), absl::StatusCode::kAborted);
  });
  group[1]->Abort();
  waiting.join();
  EXPECT_EQ(group[1]->Barrier().code(), absl::StatusCode::kAborted);
}

TEST(ShmCommunicatorFailureTest, AbortOfAPeerEndsEveryKindOfCollectiveThatWaits) {
  const std::unique_ptr<kernels::Backend> backend = kernels::MakeReferenceBackend();
  const std::unique_ptr<kernels::Stream> stream = backend->NewStream();
  float value = 1;
  uint64_t word = 1;
  uint64_t words[2];
  const std::function<absl::Status(Communicator&)> calls[] = {
      [&](Communicator& comm) {
        return comm.AllReduceSum(*stream, {&value, DType::kF32, 1, 1});
      },
      [&](Communicator& comm) { return comm.AllReduceWords(*stream, &word, 1, WordOp::kMax); },
      [&](Communicator& comm) { return comm.AllGatherWords(*stream, &word, 1, words); },
      [&](Communicator& comm) { return comm.Broadcast(*stream, &value, sizeof(value)); }};
  for (const auto& call : calls) {
    std::vector<std::unique_ptr<Communicator>> group = MakeLocalGroup(2, {.spins = 0});
    std::thread waiting([&] { EXPECT_TRUE(absl::IsAborted(call(*group[0]))); });
    group[1]->Abort();
    waiting.join();
  }
}

// Else the last step of a group that leaves could fail on the ranks that are a little late.
TEST(ShmCommunicatorFailureTest, AnExchangeThatIsCompleteOutlivesAbort) {
  auto segment = CommunicatorSegment::Create(2);
  ASSERT_TRUE(segment.ok());
  (*segment)->Arrive(0, 1);
  (*segment)->Arrive(1, 1);
  (*segment)->Abort();
  EXPECT_TRUE((*segment)->WaitForAll(1, /*spins=*/0, absl::Minutes(1)).ok());
  EXPECT_TRUE(absl::IsAborted((*segment)->WaitForAll(2, /*spins=*/0, absl::Minutes(1))));
}

TEST(ShmCommunicatorFailureTest, APeerThatNeverComesIsNamedAndFailsTheGroup) {
  std::vector<std::unique_ptr<Communicator>> group =
      MakeLocalGroup(2, {.timeout = absl::Milliseconds(20), .spins = 10});
  const absl::Status status = group[0]->Barrier();
  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_NE(status.message().find("rank 1"), absl::string_view::npos) << status;
  EXPECT_EQ(group[0]->Barrier(), status);
  EXPECT_EQ(group[1]->Barrier().code(), absl::StatusCode::kAborted);
}

}  // namespace
}  // namespace phalanx
