// The ranks as processes, as in a worker group, with the stand-in for NCCL.
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "kernels/cuda/cuda_backend.h"
#include "worker/comm/nccl_communicator_factory.h"
#include "worker/comm/testing/communicator_suite.h"
#include "worker/comm/testing/nccl_stand_in.h"

namespace phalanx {
namespace {

constexpr int kWorld = 3;
constexpr int kRounds = 100;
// What a rank that is started is told: its number, and the invitation in hexadecimal digits.
constexpr char kRankVariable[] = "PHALANX_TEST_RANK";
constexpr char kInvitationVariable[] = "PHALANX_TEST_INVITATION";

const TransportUnderTest kTransport = {
    .name = "Nccl",
    .make_backend = []() -> std::unique_ptr<kernels::Backend> {
      return *kernels::MakeCudaBackend({.activations = kernels::DType::kF32});
    },
    .make_group = nullptr};

void SumManyRounds(Communicator& comm) {
  RankUnderTest rank(kTransport, &comm);
  for (int round = 0; round < kRounds; ++round) {
    float* const data =
        rank.Upload(std::vector<float>(64, static_cast<float>(comm.rank() + round)));
    ASSERT_TRUE(comm.AllReduceSum(rank.stream(), {data, kernels::DType::kF32, 8, 8}).ok());
    ASSERT_EQ(rank.Download(data, 64), std::vector<float>(64, static_cast<float>(3 + 3 * round)));
  }
  EXPECT_TRUE(comm.Barrier().ok());
}

pid_t StartRank(int rank, const std::string& rendezvous) {
  setenv(kRankVariable, absl::StrCat(rank).c_str(), 1);
  setenv(kInvitationVariable, absl::BytesToHexString(rendezvous).c_str(), 1);
  std::string program = "/proc/self/exe";
  std::string filter = "--gtest_filter=NcclProcessTest.ARankThatIsStarted";
  char* const arguments[] = {program.data(), filter.data(), nullptr};
  pid_t child = -1;
  const int error = posix_spawn(&child, program.c_str(), nullptr, nullptr, arguments, environ);
  unsetenv(kRankVariable);
  return error == 0 ? child : -1;
}

TEST(NcclProcessTest, ARankThatIsStarted) {
  const char* const number = std::getenv(kRankVariable);
  if (number == nullptr) GTEST_SKIP() << "runs in the processes of the other test";
  int rank = 0;
  ASSERT_TRUE(absl::SimpleAtoi(number, &rank));
  NcclCommunicatorFactory factory(NcclStandIn(), {});
  auto joined =
      factory.Join({.rendezvous = absl::HexStringToBytes(std::getenv(kInvitationVariable))}, rank,
                   kWorld, absl::Minutes(1));
  ASSERT_TRUE(joined.ok()) << joined.status();
  SumManyRounds(**joined);
}

TEST(NcclProcessTest, RanksInProcessesOfTheirOwnMeet) {
  NcclCommunicatorFactory factory(NcclStandIn(), {});
  auto meeting = factory.Meet(kWorld, absl::Minutes(1));
  ASSERT_TRUE(meeting.ok()) << meeting.status();
  std::vector<pid_t> children;
  for (int rank = 1; rank < kWorld; ++rank) {
    children.push_back(StartRank(rank, meeting->invitation.rendezvous));
    ASSERT_GT(children.back(), 0);
  }
  SumManyRounds(*meeting->communicator);
  for (const pid_t child : children) {
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  }
}

// A rank whose process ends leaves the others waiting at what they have queued, until they are
// told.
TEST(NcclProcessTest, ARankWhoseProcessEndsLeavesOthersWaitingUntilTheyAbort) {
  NcclCommunicatorFactory factory(NcclStandIn(), {});
  auto meeting = factory.Meet(kWorld, absl::Minutes(1));
  ASSERT_TRUE(meeting.ok()) << meeting.status();
  std::vector<pid_t> children;
  for (int rank = 1; rank < kWorld; ++rank) {
    children.push_back(StartRank(rank, meeting->invitation.rendezvous));
  }
  Communicator& comm = *meeting->communicator;
  SumManyRounds(comm);
  for (const pid_t child : children) ASSERT_EQ(waitpid(child, nullptr, 0), child);
  RankUnderTest rank(kTransport, &comm);
  float* const data = rank.Allocate<float>(64);
  ASSERT_TRUE(comm.AllReduceSum(rank.stream(), {data, kernels::DType::kF32, 8, 8}).ok());
  EXPECT_TRUE(absl::IsDeadlineExceeded(rank.stream().Synchronize(absl::Milliseconds(20))));
  comm.Abort();
  EXPECT_TRUE(absl::IsAborted(rank.Finish()));
}

}  // namespace
}  // namespace phalanx
