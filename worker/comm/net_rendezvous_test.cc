#include "worker/comm/net_rendezvous.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/unique_fd.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "worker/net/testing/certificates.h"

namespace phalanx {
namespace {

using ::testing::HasSubstr;

constexpr char kLoopback[] = "127.0.0.1";
constexpr NetNonce kNonce = {1, 2, 3};
constexpr NetNonce kOtherNonce = {1, 2, 4};

absl::Time Long() { return MonotonicClock()->Now() + absl::Minutes(1); }

// With TLS or without.
class NetRendezvousTest : public ::testing::TestWithParam<bool> {
 protected:
  NetRendezvousTest() {
    if (GetParam()) credentials_ = testing::Authority("ranks").Credentials("rank");
  }

  NetRendezvous::Options OptionsOf(int rank, int world, int leader_port = 0) const {
    return {.rank = rank,
            .world = world,
            .nonce = kNonce,
            .listen_host = kLoopback,
            .leader = {.host = kLoopback, .port = leader_port},
            .credentials = credentials_};
  }
  static std::unique_ptr<NetRendezvous> Make(NetRendezvous::Options options) {
    auto rendezvous = NetRendezvous::Create(std::move(options));
    EXPECT_TRUE(rendezvous.ok()) << rendezvous.status();
    return *std::move(rendezvous);
  }
  // A connection to `leader` that says `hello`.
  std::unique_ptr<StreamSocket> Visit(const NetRendezvous& leader,
                                      absl::Span<const std::byte> hello) const {
    auto stream = StreamSocket::Connect({kLoopback, leader.port()}, credentials_, Long());
    EXPECT_TRUE(stream.ok()) << stream.status();
    EXPECT_TRUE((*stream)->Write(hello, Long()).ok());
    return *std::move(stream);
  }
  // Whether the other end hangs up without a word.
  static bool IsTurnedAway(StreamSocket& stream) {
    std::byte byte{};
    return absl::IsUnavailable(stream.Read({&byte, 1}, Long()));
  }

  std::shared_ptr<TlsCredentials> credentials_;
};

INSTANTIATE_TEST_SUITE_P(Kinds, NetRendezvousTest, ::testing::Bool(),
                         [](const auto& info) { return info.param ? "Tls" : "Plain"; });

// Sends a number from each rank to each other one, and reads the others' numbers.
void Greet(NetMesh& mesh, int rank) {
  for (const auto& stream : mesh.streams) {
    const std::byte number{static_cast<unsigned char>(rank)};
    if (stream == nullptr) continue;
    ASSERT_TRUE(stream->Write({&number, 1}, Long()).ok());
  }
  for (size_t peer = 0; peer < mesh.streams.size(); ++peer) {
    std::byte number{};
    if (mesh.streams[peer] == nullptr) continue;
    ASSERT_TRUE(mesh.streams[peer]->Read({&number, 1}, Long()).ok());
    EXPECT_EQ(static_cast<size_t>(number), peer);
  }
}

void Signal(const UniqueFd& event) {
  const uint64_t one = 1;
  EXPECT_EQ(write(event.get(), &one, sizeof(one)), ssize_t{sizeof(one)});
}

// Forms a group, of which the members begin in the order of `members`. `meanwhile` is called when
// rank 0 listens and waits.
void FormGroup(const std::function<NetRendezvous::Options(int rank, int port)>& options_of,
               const std::vector<int>& members,
               const std::function<void(const NetRendezvous&)>& meanwhile) {
  // A rank that fails ends the others' waiting.
  const UniqueFd failed(eventfd(0, EFD_CLOEXEC));
  const auto form = [&](NetRendezvous& rendezvous, int rank) {
    absl::StatusOr<NetMesh> mesh = rendezvous.Form(failed.get());
    if (!mesh.ok()) Signal(failed);
    ASSERT_TRUE(mesh.ok()) << rank << ": " << mesh.status();
    Greet(*mesh, rank);
  };
  auto leader = NetRendezvous::Create(options_of(0, 0));
  ASSERT_TRUE(leader.ok()) << leader.status();
  const int port = (*leader)->port();
  std::vector<std::thread> threads;
  threads.emplace_back([&] { form(**leader, 0); });
  meanwhile(**leader);
  for (const int rank : members) {
    threads.emplace_back([&, rank] {
      auto rendezvous = NetRendezvous::Create(options_of(rank, port));
      ASSERT_TRUE(rendezvous.ok()) << rendezvous.status();
      form(**rendezvous, rank);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_P(NetRendezvousTest, RanksComeTogetherInAnyOrder) {
  std::vector<int> members = {1, 2, 3};
  do {
    FormGroup([&](int rank, int port) { return OptionsOf(rank, 4, port); }, members,
              [](const NetRendezvous&) {});
  } while (std::next_permutation(members.begin(), members.end()));
}

TEST_P(NetRendezvousTest, StrangersAreTurnedAwayAndCostTheGroupNothing) {
  const NetHello right = {.nonce = kNonce, .rank = 1, .world = 3, .port = 1};
  const auto with = [&](const std::function<void(NetHello&)>& change) {
    NetHello hello = right;
    change(hello);
    return EncodeNetHello(hello);
  };
  const auto options_of = [&](int rank, int port) {
    NetRendezvous::Options options = OptionsOf(rank, 3, port);
    // Short for those who say nothing, and long for ranks that have little of the processor.
    options.stranger_limit = absl::Seconds(1);
    return options;
  };
  FormGroup(options_of, {2, 1}, [&](const NetRendezvous& leader) {
    const auto silent = Visit(leader, {});
    const auto slow = Visit(leader, std::vector<std::byte>(5));
    EXPECT_TRUE(IsTurnedAway(*silent));
    EXPECT_TRUE(IsTurnedAway(*slow));
    EXPECT_TRUE(IsTurnedAway(*Visit(leader, std::vector<std::byte>(kNetHelloBytes))));
    for (const NetHelloBytes& hello :
         {with([](NetHello& h) { h.nonce = kOtherNonce; }), with([](NetHello& h) { h.world = 4; }),
          with([](NetHello& h) { h.rank = 0; }), with([](NetHello& h) { h.rank = 3; }),
          with([](NetHello& h) { h.rank = -1; }), with([](NetHello& h) { h.port = 0; }),
          with([](NetHello& h) { h.port = 65536; })}) {
      EXPECT_TRUE(IsTurnedAway(*Visit(leader, hello)));
    }
  });
}

TEST_P(NetRendezvousTest, ManyConnectionsAtOnceAreTurnedAwayAndCostTheGroupNothing) {
  std::vector<std::unique_ptr<StreamSocket>> many;
  FormGroup([&](int rank, int port) { return OptionsOf(rank, 2, port); }, {1},
            [&](const NetRendezvous& leader) {
              for (int i = 0; i < 100; ++i) many.push_back(Visit(leader, {}));
            });
}

TEST_P(NetRendezvousTest, ASecondRankOfTheSameNumberIsTurnedAway) {
  auto leader = Make(OptionsOf(0, 3));
  std::thread forming([&] {
    const absl::Status status = leader->Form(-1).status();
    // The first one hangs up at the end of the test.
    EXPECT_TRUE(absl::IsUnavailable(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("rank 1 at "));
    EXPECT_THAT(std::string(status.message()), HasSubstr("it left while the group was formed"));
  });
  const NetHelloBytes hello = EncodeNetHello({.nonce = kNonce, .rank = 1, .world = 3, .port = 1});
  std::unique_ptr<StreamSocket> first = Visit(*leader, hello);
  std::unique_ptr<StreamSocket> second = Visit(*leader, hello);
  std::byte byte{};
  EXPECT_TRUE(absl::IsUnavailable(second->Read({&byte, 1}, Long())));
  first.reset();
  forming.join();
}

TEST_P(NetRendezvousTest, WaitingForOthersCanBeInterrupted) {
  const UniqueFd interrupt(eventfd(0, EFD_CLOEXEC));
  auto leader = Make(OptionsOf(0, 3));
  auto member = Make(OptionsOf(1, 3, leader->port()));
  const auto expect_cancelled = [&](NetRendezvous& rendezvous) {
    EXPECT_TRUE(absl::IsCancelled(rendezvous.Form(interrupt.get()).status()));
  };
  std::thread leading([&] { expect_cancelled(*leader); });
  std::thread joining([&] {
    const absl::Status status = member->Form(interrupt.get()).status();
    // The leader may have left first.
    EXPECT_TRUE(absl::IsCancelled(status) || absl::IsUnavailable(status)) << status;
  });
  Signal(interrupt);
  leading.join();
  joining.join();
}

TEST_P(NetRendezvousTest, ALeaderThatIsGoneEndsAMember) {
  int port = 0;
  {
    const auto leader = Make(OptionsOf(0, 3));
    port = leader->port();
  }
  const absl::Status status = Make(OptionsOf(1, 3, port))->Form(-1).status();
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("rank 0 at 127.0.0.1"));
}

TEST_P(NetRendezvousTest, ALeaderThatSaysNonsenseEndsAMember) {
  auto listener = StreamListener::Create({kLoopback, 0}, credentials_);
  ASSERT_TRUE(listener.ok()) << listener.status();
  auto member = Make(OptionsOf(2, 3, listener->port()));
  std::thread joining([&] {
    const absl::Status status = member->Form(-1).status();
    EXPECT_TRUE(absl::IsInternal(status)) << status;
  });
  pollfd waiting = {.fd = listener->fd(), .events = POLLIN, .revents = 0};
  ASSERT_EQ(poll(&waiting, 1, -1), 1);
  auto stream = listener->Accept();
  ASSERT_TRUE(stream.ok()) << stream.status();
  ASSERT_TRUE((*stream)->Handshake(Long()).ok());
  ASSERT_TRUE((*stream)->Write(std::vector<std::byte>(2 * kNetAddressBytes), Long()).ok());
  joining.join();
}

TEST(NetHelloTest, AnAddressTravels) {
  std::vector<std::byte> bytes(kNetAddressBytes);
  for (const HostPort& address : {HostPort{"", 1}, HostPort{"10.0.0.2", 65535},
                                  HostPort{"fe80:1:2:3:4:5:6:7%a-long-interface", 80}}) {
    EncodeNetAddress(address, absl::MakeSpan(bytes));
    const absl::StatusOr<HostPort> decoded = DecodeNetAddress(bytes);
    ASSERT_TRUE(decoded.ok()) << decoded.status();
    EXPECT_EQ(decoded->host, address.host);
    EXPECT_EQ(decoded->port, address.port);
  }
  // A host without an end.
  std::fill(bytes.begin() + 8, bytes.end(), std::byte{'x'});
  EXPECT_TRUE(absl::IsInternal(DecodeNetAddress(bytes).status()));
}

TEST(NetHelloTest, AnInvitationTravelsAndNothingElseIsOne) {
  const std::string bytes = EncodeNetInvitation({.nonce = kNonce, .port = 50052});
  const absl::StatusOr<NetInvitation> decoded = DecodeNetInvitation(bytes);
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(decoded->nonce, kNonce);
  EXPECT_EQ(decoded->port, 50052);
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_TRUE(absl::IsInvalidArgument(DecodeNetInvitation(bytes.substr(0, size)).status()));
  }
  EXPECT_TRUE(absl::IsInvalidArgument(DecodeNetInvitation(bytes + "x").status()));
}

TEST(NetHelloTest, NoncesDiffer) {
  const auto first = MakeNetNonce();
  const auto second = MakeNetNonce();
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_NE(*first, *second);
}

}  // namespace
}  // namespace phalanx
