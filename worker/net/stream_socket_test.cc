#include "worker/net/stream_socket.h"

#include <sys/eventfd.h>
#include <sys/socket.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/unique_fd.h"
#include "gtest/gtest.h"
#include "worker/net/poll_until.h"
#include "worker/net/testing/certificates.h"

namespace phalanx {
namespace {

using Bytes = std::vector<std::byte>;
using Credentials = std::shared_ptr<TlsCredentials>;
using Stream = std::unique_ptr<StreamSocket>;

absl::Time In(absl::Duration time) { return MonotonicClock()->Now() + time; }
absl::Time Long() { return In(absl::Seconds(60)); }

Bytes BytesOf(const std::string& text) {
  const auto* const begin = reinterpret_cast<const std::byte*>(text.data());
  return Bytes(begin, begin + text.size());
}

// `size` bytes that differ from `seed` to `seed`.
Bytes Pattern(size_t size, uint32_t seed) {
  Bytes bytes(size);
  for (std::byte& byte : bytes) {
    seed = seed * 1664525 + 1013904223;
    byte = static_cast<std::byte>(seed >> 24);
  }
  return bytes;
}

StreamListener ListenAt(Credentials credentials) {
  absl::StatusOr<StreamListener> listener =
      StreamListener::Create({"127.0.0.1", 0}, std::move(credentials));
  EXPECT_TRUE(listener.ok()) << listener.status();
  return *std::move(listener);
}

HostPort AddressOf(const StreamListener& listener) { return {"127.0.0.1", listener.port()}; }

Stream AcceptFrom(StreamListener& listener) {
  pollfd waiting{listener.fd(), POLLIN, 0};
  EXPECT_TRUE(PollUntil({&waiting, 1}, Long()).value());
  return std::move(listener.Accept()).value();
}

struct Pair {
  Stream client, server;
};

// Two ends whose handshake is done.
Pair Connected(Credentials client, Credentials server) {
  StreamListener listener = ListenAt(std::move(server));
  Pair pair;
  std::thread accepting([&] {
    pair.server = AcceptFrom(listener);
    EXPECT_EQ(pair.server->Handshake(Long()), absl::OkStatus());
  });
  absl::StatusOr<Stream> connected =
      StreamSocket::Connect(AddressOf(listener), std::move(client), Long());
  accepting.join();
  EXPECT_TRUE(connected.ok()) << connected.status();
  pair.client = *std::move(connected);
  return pair;
}

// What both ends are told if `client` dials `server`.
std::pair<absl::Status, absl::Status> Dial(Credentials client, Credentials server) {
  StreamListener listener = ListenAt(std::move(server));
  absl::Status accepted;
  std::thread accepting([&] {
    const Stream stream = AcceptFrom(listener);
    accepted = stream->Handshake(Long());
    // Bytes of a client that did not wait for its handshake.
    std::byte byte;
    if (accepted.ok()) accepted = stream->Read({&byte, 1}, In(absl::Milliseconds(200)));
  });
  const absl::StatusOr<Stream> connected =
      StreamSocket::Connect(AddressOf(listener), std::move(client), Long());
  accepting.join();
  return {connected.status(), accepted};
}

class StreamSocketTest : public ::testing::TestWithParam<bool> {
 protected:
  Credentials credentials(const std::string& name) const {
    return GetParam() ? authority_.Credentials(name) : nullptr;
  }
  Pair Connect() const { return Connected(credentials("client"), credentials("server")); }

  const testing::Authority authority_{"the group's"};
};

INSTANTIATE_TEST_SUITE_P(Kinds, StreamSocketTest, ::testing::Bool(),
                         [](const auto& info) { return info.param ? "Tls" : "Plain"; });

TEST_P(StreamSocketTest, CarriesBytesBothWays) {
  const Pair pair = Connect();
  Bytes received(5);
  EXPECT_EQ(pair.client->Write(BytesOf("hello"), Long()), absl::OkStatus());
  EXPECT_EQ(pair.server->Read(absl::MakeSpan(received), Long()), absl::OkStatus());
  EXPECT_EQ(received, BytesOf("hello"));
  EXPECT_EQ(pair.server->Write(BytesOf("there"), Long()), absl::OkStatus());
  EXPECT_EQ(pair.client->Read(absl::MakeSpan(received), Long()), absl::OkStatus());
  EXPECT_EQ(received, BytesOf("there"));
}

TEST_P(StreamSocketTest, NamesItsPeer) {
  const Pair pair = Connect();
  EXPECT_EQ(pair.server->peer().find("127.0.0.1:"), 0U) << pair.server->peer();
}

TEST_P(StreamSocketTest, LargeWritesBothWaysAtOnceDoNotWaitForEachOther) {
  const Pair pair = Connect();
  constexpr size_t kSize = size_t{16} << 20;
  const auto exchange = [](StreamSocket& stream, uint32_t own, uint32_t other) {
    std::thread writing(
        [&] { EXPECT_EQ(stream.Write(Pattern(kSize, own), Long()), absl::OkStatus()); });
    Bytes received(kSize);
    EXPECT_EQ(stream.Read(absl::MakeSpan(received), Long()), absl::OkStatus());
    EXPECT_TRUE(received == Pattern(kSize, other));
    writing.join();
  };
  std::thread server([&] { exchange(*pair.server, 2, 1); });
  exchange(*pair.client, 1, 2);
  server.join();
}

TEST_P(StreamSocketTest, ReadSomeTakesWhatHasComeAndNeverWaits) {
  const Pair pair = Connect();
  Bytes received(3);
  EXPECT_EQ(pair.server->ReadSome(absl::MakeSpan(received)).value(), 0U);
  EXPECT_EQ(pair.client->Write(BytesOf("hello"), Long()), absl::OkStatus());
  pollfd readable{pair.server->fd(), POLLIN, 0};
  ASSERT_TRUE(PollUntil({&readable, 1}, Long()).value());
  EXPECT_EQ(pair.server->ReadSome(absl::MakeSpan(received)).value(), 3U);
  // TLS has taken the whole record from the socket.
  EXPECT_EQ(pair.server->has_buffered(), GetParam());
  EXPECT_EQ(pair.server->ReadSome(absl::MakeSpan(received)).value(), 2U);
  EXPECT_FALSE(pair.server->has_buffered());
  EXPECT_EQ(pair.server->ReadSome(absl::MakeSpan(received)).value(), 0U);
}

TEST_P(StreamSocketTest, WriteSomeStopsWhenNobodyReads) {
  const Pair pair = Connect();
  const Bytes block = Pattern(size_t{1} << 20, 1);
  size_t written = 0;
  while (true) {
    const size_t offset = written % block.size();
    const size_t some = pair.client->WriteSome(absl::MakeSpan(block).subspan(offset)).value();
    if (some == 0) break;
    written += some;
  }
  EXPECT_GT(written, 0U);
  // What has been written comes, and then it goes on where it was.
  Bytes received(written);
  EXPECT_EQ(pair.server->Read(absl::MakeSpan(received), Long()), absl::OkStatus());
  EXPECT_EQ(received.back(), block[(written - 1) % block.size()]);
  EXPECT_GT(pair.client->WriteSome(absl::MakeSpan(block).subspan(written % block.size())).value(),
            0U);
}

TEST_P(StreamSocketTest, HalfAMessageEndsAtTheDeadline) {
  const Pair pair = Connect();
  EXPECT_EQ(pair.client->Write(BytesOf("hal"), Long()), absl::OkStatus());
  Bytes received(6);
  EXPECT_TRUE(absl::IsDeadlineExceeded(
      pair.server->Read(absl::MakeSpan(received), In(absl::Milliseconds(50)))));
}

TEST_P(StreamSocketTest, AWriteThatNobodyReadsEndsAtTheDeadline) {
  const Pair pair = Connect();
  EXPECT_TRUE(absl::IsDeadlineExceeded(
      pair.client->Write(Pattern(size_t{64} << 20, 1), In(absl::Milliseconds(100)))));
}

TEST_P(StreamSocketTest, APeerThatReadsNothingForLongerThanItsLimitCountsAsGone) {
  const Pair pair = Connect();
  pair.client->LimitSilence(absl::Milliseconds(100));
  EXPECT_TRUE(absl::IsUnavailable(pair.client->Write(Pattern(size_t{64} << 20, 1), Long())));
}

TEST_P(StreamSocketTest, APeerThatIsGoneIsUnavailable) {
  Pair pair = Connect();
  EXPECT_EQ(pair.client->Write(BytesOf("hal"), Long()), absl::OkStatus());
  pair.client.reset();
  Bytes received(6);
  EXPECT_TRUE(absl::IsUnavailable(pair.server->Read(absl::MakeSpan(received), Long())));
}

TEST_P(StreamSocketTest, AWriteToAPeerThatIsGoneIsUnavailableAndNoSignal) {
  Pair pair = Connect();
  pair.client.reset();
  absl::Status status;
  while (status.ok()) status = pair.server->Write(Pattern(size_t{1} << 20, 1), Long());
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
}

TEST_P(StreamSocketTest, AbortEndsAReadAndAWriteThatBlock) {
  const Pair pair = Connect();
  std::thread reading([&] {
    Bytes received(6);
    EXPECT_TRUE(absl::IsAborted(pair.client->Read(absl::MakeSpan(received), Long())));
  });
  std::thread writing([&] {
    EXPECT_TRUE(absl::IsAborted(pair.client->Write(Pattern(size_t{64} << 20, 1), Long())));
  });
  // The writer has begun.
  Bytes first(1);
  EXPECT_EQ(pair.server->Read(absl::MakeSpan(first), Long()), absl::OkStatus());
  pair.client->Abort();
  pair.client->Abort();
  reading.join();
  writing.join();
  EXPECT_TRUE(absl::IsAborted(pair.client->Write(BytesOf("x"), Long())));
  EXPECT_TRUE(absl::IsAborted(pair.client->ReadSome(absl::MakeSpan(first)).status()));
  absl::Status status;
  while (status.ok()) status = pair.server->Read(absl::MakeSpan(first), Long());
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
}

TEST_P(StreamSocketTest, TriesUntilSomebodyListens) {
  // A port that nobody listens on: that of a listener that is gone.
  HostPort address;
  {
    StreamListener listener = ListenAt(nullptr);
    address = AddressOf(listener);
  }
  std::thread connecting([&] {
    const absl::StatusOr<Stream> stream =
        StreamSocket::Connect(address, credentials("client"), Long());
    EXPECT_TRUE(stream.ok()) << stream.status();
  });
  absl::StatusOr<StreamListener> listener = StreamListener::Create(address, credentials("server"));
  ASSERT_TRUE(listener.ok()) << listener.status();
  const Stream accepted = AcceptFrom(*listener);
  EXPECT_EQ(accepted->Handshake(Long()), absl::OkStatus());
  connecting.join();
}

TEST_P(StreamSocketTest, APortThatNobodyListensAtFailsAtOnceIfWanted) {
  HostPort address;
  {
    const StreamListener listener = ListenAt(nullptr);
    address = AddressOf(listener);
  }
  const absl::Time begin = MonotonicClock()->Now();
  const absl::Status status = StreamSocket::Connect(address, credentials("client"), Long(), -1,
                                                    StreamSocket::IfRefused::kFail)
                                  .status();
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_LT(MonotonicClock()->Now() - begin, absl::Seconds(30));
}

TEST_P(StreamSocketTest, GivesUpAtTheDeadline) {
  HostPort address;
  {
    StreamListener listener = ListenAt(nullptr);
    address = AddressOf(listener);
  }
  const absl::Status status =
      StreamSocket::Connect(address, credentials("client"), In(absl::Milliseconds(50))).status();
  EXPECT_TRUE(absl::IsUnavailable(status));
  EXPECT_NE(status.message().find(address.ToString()), std::string::npos) << status;
  EXPECT_NE(status.message().find("Connection refused"), std::string::npos) << status;
}

TEST_P(StreamSocketTest, ANameThatDoesNotExistIsAskedForUntilTheDeadline) {
  const absl::Status status =
      StreamSocket::Connect({"no-such-host.invalid", 1}, credentials("client"),
                            In(absl::Milliseconds(50)))
          .status();
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
}

TEST_P(StreamSocketTest, ConnectingCanBeInterrupted) {
  const UniqueFd interrupt(eventfd(1, EFD_CLOEXEC));
  HostPort address;
  {
    StreamListener listener = ListenAt(nullptr);
    address = AddressOf(listener);
  }
  EXPECT_TRUE(absl::IsCancelled(
      StreamSocket::Connect(address, credentials("client"), Long(), interrupt.get()).status()));
}

TEST(StreamSocket, AcceptDoesNotWait) {
  StreamListener listener = ListenAt(nullptr);
  EXPECT_TRUE(absl::IsUnavailable(listener.Accept().status()));
}

TEST(StreamSocket, AdoptsAUnixSocketAndNamesItsProcess) {
  int fds[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
  const Stream ours = StreamSocket::Adopt(UniqueFd(fds[0]));
  const Stream theirs = StreamSocket::Adopt(UniqueFd(fds[1]));
  EXPECT_EQ(ours->peer(), "process " + std::to_string(getpid()));
  Bytes received(2);
  EXPECT_EQ(ours->Write(BytesOf("hi"), Long()), absl::OkStatus());
  EXPECT_EQ(theirs->Read(absl::MakeSpan(received), Long()), absl::OkStatus());
  EXPECT_EQ(received, BytesOf("hi"));
}

TEST(StreamSocketTls, ACertificateOfAnotherAuthorityIsRefusedByBothEnds) {
  const testing::Authority ours("ours");
  const testing::Authority others("others");
  // A client that believes the server, which does not believe the client.
  TlsCredentials::Files mixed = others.Write("mixed");
  testing::WriteFile(mixed.authorities, ours.certificate() + others.certificate());
  const auto [connected, accepted] =
      Dial(TlsCredentials::Create(mixed).value(), ours.Credentials("server"));
  EXPECT_TRUE(absl::IsPermissionDenied(accepted)) << accepted;
  EXPECT_TRUE(absl::IsPermissionDenied(connected)) << connected;
  EXPECT_NE(connected.message().find("does not believe our certificate"), std::string::npos)
      << connected;
  // And one that does not believe the server.
  EXPECT_TRUE(absl::IsPermissionDenied(
      Dial(others.Credentials("client"), ours.Credentials("server")).first));
}

TEST(StreamSocketTls, AClientWithoutTlsIsTurnedAway) {
  const testing::Authority authority("ours");
  StreamListener listener = ListenAt(authority.Credentials("server"));
  const Stream client = StreamSocket::Connect(AddressOf(listener), nullptr, Long()).value();
  EXPECT_EQ(client->Write(BytesOf("GET / HTTP/1.0\r\n\r\n"), Long()), absl::OkStatus());
  const Stream server = AcceptFrom(listener);
  const absl::Status status = server->Handshake(Long());
  EXPECT_TRUE(absl::IsPermissionDenied(status)) << status;
}

TEST(StreamSocketTls, AServerWithoutTlsIsRefused) {
  const testing::Authority authority("ours");
  StreamListener listener = ListenAt(nullptr);
  std::thread answering([&] {
    const Stream stream = AcceptFrom(listener);
    EXPECT_EQ(stream->Write(BytesOf("HTTP/1.0 400 Bad Request\r\n"), Long()), absl::OkStatus());
    Bytes rest(1);
    while (stream->Read(absl::MakeSpan(rest), Long()).ok()) {
    }
  });
  const absl::Status status =
      StreamSocket::Connect(AddressOf(listener), authority.Credentials("client"), Long()).status();
  answering.join();
  EXPECT_TRUE(absl::IsPermissionDenied(status)) << status;
}

TEST(StreamSocketTls, ASilentClientEndsAtTheDeadline) {
  const testing::Authority authority("ours");
  StreamListener listener = ListenAt(authority.Credentials("server"));
  const Stream client = StreamSocket::Connect(AddressOf(listener), nullptr, Long()).value();
  const Stream server = AcceptFrom(listener);
  Bytes received(1);
  EXPECT_EQ(server->ReadSome(absl::MakeSpan(received)).value(), 0U);
  EXPECT_FALSE(server->ready());
  EXPECT_TRUE(
      absl::IsDeadlineExceeded(server->Read(absl::MakeSpan(received), In(absl::Milliseconds(50)))));
}

TEST(StreamSocketTls, ASilentServerEndsAtTheDeadline) {
  const testing::Authority authority("ours");
  StreamListener listener = ListenAt(nullptr);
  const absl::Status status =
      StreamSocket::Connect(AddressOf(listener), authority.Credentials("client"),
                            In(absl::Milliseconds(100)))
          .status();
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
}

TEST(StreamSocketTls, AReadAloneCarriesOnTheHandshake) {
  const testing::Authority authority("ours");
  StreamListener listener = ListenAt(authority.Credentials("server"));
  std::thread client([&] {
    const Stream stream =
        StreamSocket::Connect(AddressOf(listener), authority.Credentials("client"), Long()).value();
    EXPECT_EQ(stream->Write(BytesOf("x"), Long()), absl::OkStatus());
  });
  const Stream server = AcceptFrom(listener);
  Bytes received(1);
  EXPECT_EQ(server->Read(absl::MakeSpan(received), Long()), absl::OkStatus());
  client.join();
}

TEST(StreamSocketTls, AReaderAndAWriterMayBothFindTheHandshakeUndone) {
  const testing::Authority authority("ours");
  StreamListener listener = ListenAt(authority.Credentials("server"));
  const auto exchange = [](StreamSocket& stream) {
    std::thread writing([&] { EXPECT_EQ(stream.Write(BytesOf("x"), Long()), absl::OkStatus()); });
    Bytes received(1);
    EXPECT_EQ(stream.Read(absl::MakeSpan(received), Long()), absl::OkStatus());
    writing.join();
  };
  std::thread client([&] {
    exchange(*StreamSocket::Connect(AddressOf(listener), authority.Credentials("client"), Long())
                  .value());
  });
  exchange(*AcceptFrom(listener));
  client.join();
}

}  // namespace
}  // namespace phalanx
