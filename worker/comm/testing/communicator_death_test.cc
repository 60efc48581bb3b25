// Ranks as processes, of which one is killed at each phase of each kind of collective.
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/log.h"
#include "gtest/gtest.h"
#include "kernels/reference/reference_backend.h"
#include "worker/comm/net_communicator_factory.h"
#include "worker/comm/shm_communicator_factory.h"
#include "worker/net/testing/certificates.h"

namespace phalanx {
namespace {

using kernels::DType;

constexpr int kWorld = 3;
constexpr int kVictim = 1;
// More than a transport sends at once.
constexpr int64_t kCount = 100'000;
constexpr char kLoopback[] = "127.0.0.1";
// A program that finds this in its environment is a rank: number, transport, phase, kind and
// invitation, and the files of its certificate.
constexpr char kRankVariable[] = "PHALANX_TEST_RANK";
// Where a rank that is started finds the invitation's descriptor.
constexpr int kInvitationFd = 100;

enum class Transport { kShm, kNet, kNetTls };
enum class Phase { kBefore, kDuring, kAfter };
enum class Kind { kSum, kWords, kGather, kBroadcast, kBarrier };

std::unique_ptr<CommunicatorFactory> MakeFactory(Transport transport,
                                                 const TlsCredentials::Files& files) {
  if (transport == Transport::kShm) return std::make_unique<ShmCommunicatorFactory>();
  std::shared_ptr<TlsCredentials> credentials;
  if (transport == Transport::kNetTls) {
    auto loaded = TlsCredentials::Create(files);
    CHECK_OK(loaded.status());
    credentials = *std::move(loaded);
  }
  return std::make_unique<NetCommunicatorFactory>(NetCommunicatorFactory::Options{
      .listen_host = kLoopback, .leader_host = kLoopback, .credentials = credentials});
}

absl::Status Call(Communicator& comm, Kind kind, uint64_t* data, uint64_t* all) {
  static kernels::Backend* const backend = kernels::MakeReferenceBackend().release();
  static kernels::Stream* const stream = backend->NewStream().release();
  switch (kind) {
    case Kind::kSum:
      return comm.AllReduceSum(*stream, {data, DType::kF32, 2, kCount});
    case Kind::kWords:
      return comm.AllReduceWords(*stream, data, kCount, WordOp::kSum);
    case Kind::kGather:
      return comm.AllGatherWords(*stream, data, kCount, all);
    case Kind::kBroadcast:
      return comm.Broadcast(*stream, data, kCount * sizeof(uint64_t));
    case Kind::kBarrier:
      return comm.Barrier();
  }
  return absl::InternalError("no such kind");
}

[[noreturn]] void Die() {
  kill(getpid(), SIGKILL);
  abort();
}

// Memory of which the second half ends the process when it is touched: so that its end comes in
// the middle of what it gives.
uint64_t* DeadlyMemory() {
  const size_t bytes = kCount * sizeof(uint64_t);
  const size_t half = bytes / 2 / 4096 * 4096;
  auto* const memory = static_cast<std::byte*>(
      mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  CHECK(memory != MAP_FAILED);
  CHECK(mprotect(memory + half, bytes - half, PROT_NONE) == 0);
  signal(SIGSEGV, [](int) { Die(); });
  return reinterpret_cast<uint64_t*>(memory);
}

bool IsPeersEnd(const absl::Status& status) {
  return absl::IsAborted(status) || absl::IsUnavailable(status);
}

// What every rank does: two rounds in which all are well, and one in which the victim dies. Returns
// how the first call that failed, of the last round and a barrier behind it, ended.
absl::Status RunRank(Communicator& comm, Phase phase, Kind kind) {
  std::vector<uint64_t> data(kCount);
  std::vector<uint64_t> all(kWorld * kCount);
  for (int round = 0; round < 2; ++round) CHECK_OK(Call(comm, kind, data.data(), all.data()));
  if (comm.rank() == kVictim) {
    if (phase == Phase::kBefore) Die();
    uint64_t* const mine = phase == Phase::kDuring ? DeadlyMemory() : data.data();
    Call(comm, kind, mine, all.data()).IgnoreError();
    Die();
  }
  absl::Status status = Call(comm, kind, data.data(), all.data());
  if (status.ok()) status = comm.Barrier();
  return status;
}

pid_t StartRank(const std::string& description, int invitation_fd) {
  setenv(kRankVariable, description.c_str(), 1);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  if (invitation_fd >= 0) {
    posix_spawn_file_actions_adddup2(&actions, invitation_fd, kInvitationFd);
  }
  std::string program = "/proc/self/exe";
  std::string filter = "--gtest_filter=CommunicatorDeathTest.ARankThatIsStarted";
  char* const arguments[] = {program.data(), filter.data(), nullptr};
  pid_t child = -1;
  const int error = posix_spawn(&child, program.c_str(), &actions, nullptr, arguments, environ);
  posix_spawn_file_actions_destroy(&actions);
  unsetenv(kRankVariable);
  CHECK(error == 0) << error;
  return child;
}

TEST(CommunicatorDeathTest, ARankThatIsStarted) {
  const char* const variable = std::getenv(kRankVariable);
  if (variable == nullptr) GTEST_SKIP() << "runs in the processes of the other tests";
  const std::vector<std::string> words = absl::StrSplit(variable, ' ');
  ASSERT_EQ(words.size(), 8u);
  int numbers[4] = {};
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(absl::SimpleAtoi(words[i], &numbers[i]));
  const auto transport = static_cast<Transport>(numbers[1]);
  const auto factory =
      MakeFactory(transport, {.certificate = words[5], .key = words[6], .authorities = words[7]});
  auto comm = factory->Join({.fd = transport == Transport::kShm ? kInvitationFd : -1,
                             .rendezvous = absl::HexStringToBytes(words[4])},
                            numbers[0], kWorld, absl::Minutes(1));
  ASSERT_TRUE(comm.ok()) << comm.status();
  const absl::Status status =
      RunRank(**comm, static_cast<Phase>(numbers[2]), static_cast<Kind>(numbers[3]));
  EXPECT_TRUE(IsPeersEnd(status)) << status;
}

class CommunicatorDeathTest : public ::testing::TestWithParam<std::tuple<Transport, Phase, Kind>> {
};

using DeathParam = ::testing::TestParamInfo<std::tuple<Transport, Phase, Kind>>;

std::string NameOf(const DeathParam& info) {
  constexpr const char* kTransports[] = {"Shm", "Net", "NetTls"};
  constexpr const char* kPhases[] = {"Before", "During", "After"};
  constexpr const char* kKinds[] = {"Sum", "Words", "Gather", "Broadcast", "Barrier"};
  const auto [transport, phase, kind] = info.param;
  return absl::StrCat(kTransports[static_cast<int>(transport)], kPhases[static_cast<int>(phase)],
                      kKinds[static_cast<int>(kind)]);
}

INSTANTIATE_TEST_SUITE_P(
    All, CommunicatorDeathTest,
    ::testing::Combine(::testing::Values(Transport::kShm, Transport::kNet, Transport::kNetTls),
                       ::testing::Values(Phase::kBefore, Phase::kDuring, Phase::kAfter),
                       ::testing::Values(Kind::kSum, Kind::kWords, Kind::kGather, Kind::kBroadcast,
                                         Kind::kBarrier)),
    NameOf);

// No rank waits for the timeout of a minute, whose error is another one.
TEST_P(CommunicatorDeathTest, EndsTheCallsOfTheOthers) {
  const auto [transport, phase, kind] = GetParam();
  const TlsCredentials::Files files = testing::Authority("ranks").Write("rank");
  const auto factory = MakeFactory(transport, files);
  auto meeting = factory->Meet(kWorld, absl::Minutes(1));
  ASSERT_TRUE(meeting.ok()) << meeting.status();
  std::vector<pid_t> children;
  for (int rank = 1; rank < kWorld; ++rank) {
    const std::vector<std::string> words = {absl::StrCat(rank),
                                            absl::StrCat(static_cast<int>(transport)),
                                            absl::StrCat(static_cast<int>(phase)),
                                            absl::StrCat(static_cast<int>(kind)),
                                            absl::BytesToHexString(meeting->invitation.rendezvous),
                                            files.certificate,
                                            files.key,
                                            files.authorities};
    children.push_back(StartRank(absl::StrJoin(words, " "), meeting->invitation.fd));
  }
  Communicator& comm = *meeting->communicator;
  int victims_status = 0;
  std::thread watching([&, transport = transport] {
    waitpid(children[kVictim - 1], &victims_status, 0);
    // Memory does not tell that somebody is gone. Whoever watches over the processes does this.
    if (transport == Transport::kShm) comm.Abort();
  });
  const absl::Status status = RunRank(comm, phase, kind);
  watching.join();
  EXPECT_TRUE(IsPeersEnd(status)) << status;
  EXPECT_TRUE(WIFSIGNALED(victims_status) && WTERMSIG(victims_status) == SIGKILL) << victims_status;
  int others_status = 0;
  ASSERT_EQ(waitpid(children[1], &others_status, 0), children[1]);
  EXPECT_TRUE(WIFEXITED(others_status) && WEXITSTATUS(others_status) == 0) << others_status;
}

}  // namespace
}  // namespace phalanx
