// The ranks as processes, as in a worker group.
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <memory>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/reference/reference_backend.h"
#include "worker/comm/shm_communicator.h"

namespace phalanx {
namespace {

constexpr int kWorld = 3;
constexpr int kRounds = 500;

// Returns true if every sum was right.
bool SumManyRounds(Communicator& comm) {
  const std::unique_ptr<kernels::Backend> backend = kernels::MakeReferenceBackend();
  const std::unique_ptr<kernels::Stream> stream = backend->NewStream();
  for (int round = 0; round < kRounds; ++round) {
    std::vector<float> data(1000, static_cast<float>(round * (comm.rank() + 1)));
    if (!comm.AllReduceSum(*stream, {data.data(), kernels::DType::kF32, 10, 100}).ok())
      return false;
    for (const float value : data) {
      if (value != static_cast<float>(round * 6)) return false;
    }
  }
  return true;
}

TEST(CommunicatorProcessTest, RanksInProcessesOfTheirOwnMeet) {
  absl::StatusOr<std::shared_ptr<CommunicatorSegment>> segment =
      CommunicatorSegment::Create(kWorld);
  ASSERT_TRUE(segment.ok()) << segment.status();
  std::vector<pid_t> children;
  for (int rank = 1; rank < kWorld; ++rank) {
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      auto mapped = CommunicatorSegment::Map(dup((*segment)->fd()), kWorld);
      if (!mapped.ok()) _exit(2);
      ShmCommunicator comm(*mapped, rank, {});
      _exit(SumManyRounds(comm) ? 0 : 1);
    }
    children.push_back(child);
  }
  ShmCommunicator comm(*segment, 0, {});
  EXPECT_TRUE(SumManyRounds(comm));
  for (const pid_t child : children) {
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  }
}

TEST(CommunicatorProcessTest, RefusesMemoryThatIsNoSegment) {
  auto segment = CommunicatorSegment::Create(2);
  ASSERT_TRUE(segment.ok());
  EXPECT_EQ(CommunicatorSegment::Map(dup((*segment)->fd()), 3).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(CommunicatorSegment::Map(open("/dev/null", O_RDWR), 2).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace phalanx
