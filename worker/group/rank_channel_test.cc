#include "worker/group/rank_channel.h"

#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <optional>
#include <string>
#include <utility>

#include "gtest/gtest.h"
#include "phalanx/worker/v1/rank.pb.h"

namespace phalanx {
namespace {

class RankChannelTest : public testing::Test {
 protected:
  RankChannelTest() {
    int fds[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    raw_ = UniqueFd(fds[0]);
    channel_.emplace(UniqueFd(fds[1]));
  }

  void WriteRaw(const std::string& bytes) {
    ASSERT_EQ(write(raw_.get(), bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
  }

  UniqueFd raw_;
  std::optional<RankChannel> channel_;
  worker::v1::RankMessage message_;
};

TEST_F(RankChannelTest, CarriesMessagesInOrder) {
  RankChannel peer(std::move(raw_));
  for (int i = 0; i < 3; ++i) {
    message_.mutable_join()->set_rank(i);
    ASSERT_TRUE(peer.Send(message_).ok());
  }
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(channel_->Receive(&message_).ok());
    EXPECT_EQ(message_.join().rank(), i);
  }
}

TEST_F(RankChannelTest, CarriesADescriptor) {
  RankChannel peer(std::move(raw_));
  const UniqueFd memory(memfd_create("test", MFD_CLOEXEC));
  ASSERT_EQ(write(memory.get(), "hello", 5), 5);
  ASSERT_TRUE(peer.Send(message_, memory.get()).ok());
  UniqueFd received;
  ASSERT_TRUE(channel_->Receive(&message_, {.timeout = absl::Seconds(10), .fd = &received}).ok());
  char text[6] = {};
  EXPECT_EQ(pread(received.get(), text, 5, 0), 5);
  EXPECT_STREQ(text, "hello");
}

TEST_F(RankChannelTest, WhatComesBesideAMessageAndIsNoDescriptorIsNotTakenForOne) {
  RankChannel peer(std::move(raw_));
  // From now on the system puts the sender's credentials beside each message.
  const int on = 1;
  ASSERT_EQ(setsockopt(channel_->fd(), SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)), 0);
  ASSERT_TRUE(peer.Send(message_).ok());
  UniqueFd received;
  ASSERT_TRUE(channel_->Receive(&message_, {.timeout = absl::Seconds(10), .fd = &received}).ok());
  EXPECT_EQ(received.get(), -1);
  received.Release();
}

TEST_F(RankChannelTest, TellsThatThePeerHasClosed) {
  raw_ = UniqueFd();
  EXPECT_EQ(channel_->Receive(&message_).code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(channel_->Send(message_).code(), absl::StatusCode::kUnavailable);
}

TEST_F(RankChannelTest, TellsThatAMessageWasCutShort) {
  WriteRaw(std::string("\x08\0\0\0abc", 7));
  raw_ = UniqueFd();
  EXPECT_EQ(channel_->Receive(&message_).code(), absl::StatusCode::kUnavailable);
}

TEST_F(RankChannelTest, RefusesAnAbsurdLengthBeforeItAllocates) {
  WriteRaw("\xff\xff\xff\xff");
  EXPECT_EQ(channel_->Receive(&message_).code(), absl::StatusCode::kDataLoss);
}

TEST_F(RankChannelTest, RefusesBytesThatAreNoMessage) {
  WriteRaw(std::string("\x03\0\0\0\xff\xff\xff", 7));
  EXPECT_EQ(channel_->Receive(&message_).code(), absl::StatusCode::kDataLoss);
}

TEST_F(RankChannelTest, StopsWaitingAtTheTimeout) {
  EXPECT_EQ(channel_->Receive(&message_, {.timeout = absl::Milliseconds(1)}).code(),
            absl::StatusCode::kDeadlineExceeded);
}

TEST_F(RankChannelTest, TheTimeoutIsForTheWholeMessage) {
  WriteRaw(std::string("\x08\0\0\0abc", 7));
  EXPECT_EQ(channel_->Receive(&message_, {.timeout = absl::Milliseconds(1)}).code(),
            absl::StatusCode::kDeadlineExceeded);
}

TEST_F(RankChannelTest, TakesInWhatHasArrivedWithoutWaiting) {
  const std::string bytes("\x04\0\0\0\x0a\x02\x08\x05", 8);
  for (int round = 0; round < 2; ++round) {
    for (size_t i = 0; i < bytes.size(); ++i) {
      const auto whole = channel_->ReceiveArrived(&message_);
      ASSERT_TRUE(whole.ok()) << whole.status();
      EXPECT_FALSE(*whole) << i << " bytes";
      WriteRaw(bytes.substr(i, 1));
    }
    EXPECT_TRUE(channel_->ReceiveArrived(&message_).value());
    EXPECT_EQ(message_.join().rank(), 5);
  }
  raw_ = UniqueFd();
  EXPECT_EQ(channel_->ReceiveArrived(&message_).status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(RankChannelTest, RefusesMoreThanItsOwnLimit) {
  channel_.emplace(UniqueFd(dup(channel_->fd())), 3);
  WriteRaw(std::string("\x04\0\0\0", 4));
  EXPECT_EQ(channel_->ReceiveArrived(&message_).status().code(), absl::StatusCode::kDataLoss);
}

TEST_F(RankChannelTest, StopsWaitingWhenInterrupted) {
  const UniqueFd interrupt(eventfd(1, EFD_CLOEXEC));
  EXPECT_EQ(channel_->Receive(&message_, {.interrupt_fd = interrupt.get()}).code(),
            absl::StatusCode::kCancelled);
}

}  // namespace
}  // namespace phalanx
