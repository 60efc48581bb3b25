// A group whose ranks meet over TCP, as on several hosts, and whom that port turns away.
#include <cstddef>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "gtest/gtest.h"
#include "phalanx/worker/v1/rank.pb.h"
#include "worker/group/group_secret.h"
#include "worker/group/rank_meeting.h"
#include "worker/group/testing/group_fixture.h"
#include "worker/group/testing/named_communicator_factory.h"
#include "worker/net/stream_socket.h"
#include "worker/net/testing/certificates.h"
#include "worker/net/testing/unused_port.h"

namespace phalanx {
namespace {

constexpr char kSecret[] = "not to be guessed by anybody";

absl::Time Long() { return MonotonicClock()->Now() + absl::Minutes(1); }

// How the ends prove who they are.
enum class Proof { kTls, kSecret, kBoth };

class GroupTcpTest : public GroupTest, public ::testing::WithParamInterface<Proof> {
 protected:
  GroupTcpTest() {
    leader_options_.world = 2;
    leader_options_.communicators = &named_;
    leader_options_.address = "";
    leader_options_.tcp = Tcp();
    leader_options_.tcp->credentials = credentials("leader");
  }

  bool has_tls() const { return GetParam() != Proof::kSecret; }
  bool has_secret() const { return GetParam() != Proof::kTls; }
  std::shared_ptr<TlsCredentials> credentials(const std::string& name) const {
    return has_tls() ? authority_.Credentials(name) : nullptr;
  }
  RankTcp Tcp() const {
    RankTcp tcp{.address = {"127.0.0.1", port_}};
    if (has_secret()) tcp.secret = GroupSecret(kSecret);
    return tcp;
  }

  GroupMember::Options Options(int rank) const {
    GroupMember::Options options = MemberOptions(rank);
    options.tcp->credentials = credentials(absl::StrCat("rank", rank));
    return options;
  }

  // Rank 1 joins once `visit` is over, and the group forms all the same.
  void FormDespite(const std::function<void()>& visit) {
    std::future<absl::Status> member = std::async(std::launch::async, [&] {
      visit();
      return RunMember(Options(1));
    });
    StartLeader();
    EXPECT_TRUE(Execute(1).ok());
    leader_->Stop(absl::Minutes(1));
    EXPECT_TRUE(member.get().ok());
  }

  // A connection without TLS.
  std::unique_ptr<StreamSocket> Connect() const {
    return StreamSocket::Connect({"127.0.0.1", port_}, nullptr, Long()).value();
  }
  static void Say(StreamSocket& stream, const std::string& text) {
    const auto* const bytes = reinterpret_cast<const std::byte*>(text.data());
    EXPECT_EQ(stream.Write({bytes, text.size()}, Long()), absl::OkStatus());
  }
  // Reads until the leader ends the connection.
  static void AwaitEnd(StreamSocket& stream) {
    std::byte byte;
    while (stream.Read({&byte, 1}, Long()).ok()) {
    }
  }

  const phalanx::testing::Authority authority_{"the group's"};
  const int port_ = phalanx::testing::UnusedPort();
  NamedCommunicatorFactory named_;
};

std::string NameOf(const ::testing::TestParamInfo<Proof>& info) {
  constexpr const char* kNames[] = {"Tls", "Secret", "Both"};
  return kNames[static_cast<int>(info.param)];
}

INSTANTIATE_TEST_SUITE_P(Proofs, GroupTcpTest,
                         ::testing::Values(Proof::kTls, Proof::kSecret, Proof::kBoth), NameOf);

TEST_P(GroupTcpTest, RanksComeInAnyOrderAndComputeTogether) {
  leader_options_.world = 3;
  std::future<absl::Status> second =
      std::async(std::launch::async, [this] { return RunMember(Options(2)); });
  std::future<absl::Status> first =
      std::async(std::launch::async, [this] { return RunMember(Options(1)); });
  StartLeader();
  for (int token = 0; token < 100; ++token) {
    const auto result = Execute(token);
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(result->tokens, std::vector<int32_t>{3 + 3 * token});
  }
  leader_->Stop(absl::Seconds(10));
  EXPECT_TRUE(first.get().ok());
  EXPECT_TRUE(second.get().ok());
}

TEST_P(GroupTcpTest, ARankThatVanishesEndsTheGroup) {
  std::promise<void> join, vanish;
  std::thread rank([&] {
    const auto member = GroupMember::Join(Options(1)).value();
    join.set_value();
    vanish.get_future().wait();
  });
  const auto leader = Form(leader_options_);
  ASSERT_TRUE(leader.ok()) << leader.status();
  join.get_future().wait();
  vanish.set_value();
  const absl::Status lost = lost_.get_future().get();
  EXPECT_EQ(lost.code(), absl::StatusCode::kUnavailable);
  EXPECT_NE(lost.message().find("rank 1"), absl::string_view::npos) << lost;
  rank.join();
}

TEST_P(GroupTcpTest, ARankNoticesThatItsLeaderIsGone) {
  auto joining = std::async(std::launch::async, [&] { return GroupMember::Join(Options(1)); });
  leader_options_.on_lost = [](const absl::Status&) {};
  auto leader = Form(leader_options_);
  ASSERT_TRUE(leader.ok()) << leader.status();
  const auto member = joining.get();
  ASSERT_TRUE(member.ok()) << member.status();
  leader->reset();
  while (!(*member)->abandoned()) std::this_thread::yield();
}

// A message as it lies on the wire.
std::string Framed(const worker::v1::RankMessage& message) {
  const std::string bytes = message.SerializeAsString();
  return std::string(1, static_cast<char>(bytes.size())) + std::string(3, '\0') + bytes;
}

TEST_P(GroupTcpTest, TwoMessagesThatComeInOnePieceAreBothHeard) {
  std::promise<void> over;
  std::thread rank([&] {
    const GroupMember::Options options = Options(1);
    std::unique_ptr<StreamSocket> stream =
        StreamSocket::Connect(options.tcp->address, options.tcp->credentials, Long()).value();
    StreamSocket& raw = *stream;
    RankChannel channel(MakeStreamLink(std::move(stream)));
    worker::v1::Join join;
    join.set_rank(1);
    join.set_world(2);
    WriteIdentity(options.identity, &join);
    const GroupSecret* secret = has_secret() ? &*options.tcp->secret : nullptr;
    CHECK_OK(SayJoin(channel, join, secret, {}).status());
    worker::v1::RankMessage pulse, failed;
    pulse.mutable_pulse();
    failed.mutable_failed()->set_code(static_cast<int>(absl::StatusCode::kInternal));
    failed.mutable_failed()->set_message("no weights");
    // With TLS this is one record, of which the first message leaves a part.
    Say(raw, Framed(pulse) + Framed(failed));
    over.get_future().wait();
  });
  // The loss may come before Start returns.
  const auto leader = Form(leader_options_);
  EXPECT_EQ(lost_.get_future().get().message(), "rank 1 failed: no weights");
  over.set_value();
  rank.join();
}

TEST_P(GroupTcpTest, SilentStrangersKeepNobodyOut) {
  std::vector<std::unique_ptr<StreamSocket>> open;
  FormDespite([&] {
    // More than may wait at once.
    for (int i = 0; i < 200; ++i) open.push_back(Connect());
  });
}

TEST_P(GroupTcpTest, ASilentStrangerIsDroppedInTheEnd) {
  leader_options_.handshake_timeout = absl::Milliseconds(20);
  FormDespite([&] { AwaitEnd(*Connect()); });
}

TEST_P(GroupTcpTest, ARankThatIsCutOffBeforeItIsLetInJoinsAgain) {
  // A leader that accepts and ends.
  std::thread first([&] {
    StreamListener listener =
        StreamListener::Create({"127.0.0.1", port_}, credentials("leader")).value();
    absl::StatusOr<std::unique_ptr<StreamSocket>> accepted = listener.Accept();
    while (!accepted.ok()) accepted = listener.Accept();
    EXPECT_EQ((*accepted)->Handshake(Long()), absl::OkStatus());
  });
  std::future<absl::Status> member =
      std::async(std::launch::async, [this] { return RunMember(Options(1)); });
  first.join();
  StartLeader();
  EXPECT_TRUE(Execute(1).ok());
  leader_->Stop(absl::Minutes(1));
  EXPECT_TRUE(member.get().ok());
}

TEST_P(GroupTcpTest, AHandshakeThatNeverEndsIsDropped) {
  leader_options_.handshake_timeout = absl::Milliseconds(50);
  FormDespite([&] {
    const auto stranger = Connect();
    // The head of a TLS record that announces more than will come.
    Say(*stranger, std::string("\x16\x03\x01\x02\x00\x01", 6));
    AwaitEnd(*stranger);
  });
}

TEST_P(GroupTcpTest, GarbageEndsNothing) {
  FormDespite([&] {
    for (const std::string& text :
         {std::string("GET / HTTP/1.1\r\n\r\n"), std::string("\xff\xff\xff\xff"),
          std::string("\0\0\0\0", 4), std::string("\x03\0\0\0\xff\xff\xff", 7),
          std::string(70000, 'x')}) {
      const auto stranger = Connect();
      Say(*stranger, text);
    }
  });
}

TEST_P(GroupTcpTest, AMisfitIsTurnedAway) {
  FormDespite([&] {
    GroupMember::Options other = Options(1);
    other.identity.weight_form = "int4";
    const absl::Status status = GroupMember::Join(other).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
  });
}

TEST_P(GroupTcpTest, ACertificateOfAnotherAuthorityIsRefused) {
  if (!has_tls()) GTEST_SKIP() << "there are no certificates";
  FormDespite([&] {
    const phalanx::testing::Authority another("another");
    GroupMember::Options stranger = Options(1);
    TlsCredentials::Files files = another.Write("stranger");
    phalanx::testing::WriteFile(files.authorities,
                                authority_.certificate() + another.certificate());
    stranger.tcp->credentials = TlsCredentials::Create(files).value();
    const absl::Status status = GroupMember::Join(stranger).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied) << status;
  });
}

TEST_P(GroupTcpTest, ARankThatDoesNotKnowTheSecretIsTurnedAway) {
  if (!has_secret()) GTEST_SKIP() << "there is no secret";
  FormDespite([&] {
    GroupMember::Options stranger = Options(1);
    // Told at once, and not tried again until the end of the startup timeout.
    stranger.tcp->secret = GroupSecret("another one that is long");
    EXPECT_EQ(GroupMember::Join(stranger).status().code(), absl::StatusCode::kFailedPrecondition);
    stranger.tcp->secret.reset();
    EXPECT_EQ(GroupMember::Join(stranger).status().code(), absl::StatusCode::kPermissionDenied);
  });
}

TEST_P(GroupTcpTest, ALeaderThatDoesNotKnowTheSecretIsRefused) {
  if (!has_secret()) GTEST_SKIP() << "there is no secret";
  // It welcomes whoever comes.
  StreamListener listener = StreamListener::Create({"127.0.0.1", 0}, credentials("leader")).value();
  GroupMember::Options options = Options(1);
  options.tcp->address.port = listener.port();
  std::future<absl::Status> member =
      std::async(std::launch::async, [&] { return GroupMember::Join(options).status(); });
  absl::StatusOr<std::unique_ptr<StreamSocket>> accepted = listener.Accept();
  while (!accepted.ok()) accepted = listener.Accept();
  ASSERT_EQ((*accepted)->Handshake(Long()), absl::OkStatus());
  RankChannel channel(MakeStreamLink(*std::move(accepted)));
  worker::v1::LeaderMessage message;
  message.mutable_challenge()->set_nonce(NewNonce());
  ASSERT_EQ(channel.Send(message), absl::OkStatus());
  worker::v1::RankMessage join;
  ASSERT_EQ(channel.Receive(&join), absl::OkStatus());
  message.mutable_welcome()->set_proof(join.join().proof());
  ASSERT_EQ(channel.Send(message), absl::OkStatus());
  EXPECT_EQ(member.get().code(), absl::StatusCode::kPermissionDenied);
}

TEST_P(GroupTcpTest, ATransportThatSharesMemoryIsRefused) {
  leader_options_.communicators = &communicators_;
  const absl::Status status = Form(leader_options_).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
}

}  // namespace
}  // namespace phalanx
