// How a group forms, and why it may not.
#include <sys/eventfd.h>
#include <unistd.h>

#include <cstdlib>
#include <functional>
#include <future>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/unique_fd.h"
#include "gtest/gtest.h"
#include "phalanx/worker/v1/rank.pb.h"
#include "worker/group/testing/group_fixture.h"
#include "worker/group/testing/named_communicator_factory.h"

namespace phalanx {
namespace {

using GroupFormingTest = GroupTest;

TEST_F(GroupFormingTest, RanksCanFindEachOtherByBytesWithoutADescriptor) {
  NamedCommunicatorFactory communicators;
  leader_options_.communicators = &communicators;
  leader_options_.world = 3;
  std::future<absl::Status> first = StartMember(1);
  std::future<absl::Status> second = StartMember(2);
  StartLeader();
  const auto result = Execute(5);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->tokens, std::vector<int32_t>{18});
  leader_->Stop(absl::Seconds(10));
  EXPECT_TRUE(first.get().ok());
  EXPECT_TRUE(second.get().ok());
}

constexpr char kAddressVariable[] = "PHALANX_TEST_ADDRESS";

// A rank that others started and that does not fit costs the group nothing: its place stays free.
class MisfitTest : public GroupTest {
 protected:
  MisfitTest() { leader_options_.world = 2; }

  // What the leader tells a rank with these options, after which rank 1 joins and the group forms.
  std::string RefusalOf(const GroupMember::Options& misfit) {
    absl::Status refusal;
    std::future<absl::Status> member = std::async(std::launch::async, [&] {
      refusal = RunMember(misfit);
      return RunMember(MemberOptions(1));
    });
    StartLeader();
    EXPECT_TRUE(Execute(1).ok());
    leader_->Stop(absl::Minutes(1));
    EXPECT_TRUE(member.get().ok());
    EXPECT_EQ(refusal.code(), absl::StatusCode::kFailedPrecondition);
    return std::string(refusal.message());
  }
};

TEST_F(MisfitTest, AnotherModelIsTurnedAway) {
  GroupMember::Options options = MemberOptions(1);
  options.identity.model_fingerprint = "other";
  EXPECT_NE(RefusalOf(options).find("other instead of model"), std::string::npos);
}

TEST_F(MisfitTest, AnotherBuildIsTurnedAway) {
  GroupMember::Options options = MemberOptions(1);
  options.identity.build = "other";
  EXPECT_NE(RefusalOf(options).find("other instead of build"), std::string::npos);
}

TEST_F(MisfitTest, AnotherArithmeticIsTurnedAway) {
  GroupMember::Options options = MemberOptions(1);
  options.identity.arithmetic = "other";
  EXPECT_NE(RefusalOf(options).find("other instead of avx2"), std::string::npos);
}

TEST_F(MisfitTest, AnotherWorldIsTurnedAway) {
  GroupMember::Options options = MemberOptions(1);
  options.world = 3;
  EXPECT_NE(RefusalOf(options).find("rank 1 of 3 joined a group of 2"), std::string::npos);
}

TEST_F(MisfitTest, ANumberThatTheGroupDoesNotHaveIsTurnedAway) {
  for (const int rank : {-1, 0, 2}) {
    GroupMember::Options options = MemberOptions(1);
    options.rank = rank;
    EXPECT_NE(RefusalOf(options).find("joined a group of 2"), std::string::npos) << rank;
  }
}

TEST_F(GroupFormingTest, ARankThatJoinsTwiceIsTurnedAwayTheSecondTime) {
  leader_options_.world = 3;
  absl::Status refusal;
  std::future<absl::Status> members = std::async(std::launch::async, [&] {
    auto member = GroupMember::Join(MemberOptions(1));
    if (!member.ok()) return member.status();
    refusal = GroupMember::Join(MemberOptions(1)).status();
    return RunMember(MemberOptions(2));
  });
  const auto leader = Form(leader_options_);
  ASSERT_TRUE(leader.ok()) << leader.status();
  (*leader)->Stop(absl::Minutes(1));
  // The leader may have gone before rank 2 could say that it is ready.
  members.wait();
  EXPECT_NE(refusal.message().find("rank 1 joined twice"), absl::string_view::npos) << refusal;
}

TEST_F(GroupFormingTest, RefusesARankWithOtherWeights) {
  leader_options_.world = 3;
  std::future<absl::Status> first = StartMember(1);
  std::future<absl::Status> second = std::async(std::launch::async, [options = MemberOptions(2)] {
    return RunMember(options, absl::OkStatus(), nullptr, "others");
  });
  auto leader = Form(leader_options_);
  ASSERT_TRUE(leader.ok()) << leader.status();
  AddingDecoder decoder((*leader)->communicator());
  const absl::Status status = (*leader)->AwaitReady(&decoder, kWeightsDigest);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
  EXPECT_NE(status.message().find("rank 2 has other weights"), absl::string_view::npos) << status;
}

// Connections that are not ranks. None may end the group or hold it up.
class StrangersTest : public GroupTest {
 protected:
  StrangersTest() { leader_options_.world = 2; }

  // Rank 1 joins once `visit` is over, and the group forms all the same.
  void FormDespite(const std::function<void()>& visit) {
    std::future<absl::Status> member = std::async(std::launch::async, [&] {
      visit();
      return RunMember(MemberOptions(1));
    });
    StartLeader();
    EXPECT_TRUE(Execute(1).ok());
    leader_->Stop(absl::Minutes(1));
    EXPECT_TRUE(member.get().ok());
  }

  UniqueFd Connect() {
    auto socket = ConnectUnix(leader_options_.address, absl::Minutes(1));
    CHECK_OK(socket.status());
    return *std::move(socket);
  }

  void Say(const std::string& bytes) {
    const UniqueFd& socket = open_.emplace_back(Connect());
    CHECK(write(socket.get(), bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
  }

  // Stay open until the end of the test.
  std::vector<UniqueFd> open_;
};

TEST_F(StrangersTest, ASilentOneHoldsNobodyUp) {
  FormDespite([this] { open_.push_back(Connect()); });
}

TEST_F(StrangersTest, ManySilentOnesKeepNoRankOut) {
  FormDespite([this] {
    for (int i = 0; i < 300; ++i) open_.push_back(Connect());
  });
}

TEST_F(StrangersTest, OneThatClosesEndsNothing) {
  FormDespite([this] { Connect(); });
}

TEST_F(StrangersTest, GarbageEndsNothing) {
  FormDespite([this] {
    Say("GET / HTTP/1.1\r\n\r\n");
    Say(std::string("\x03\0\0\0\xff\xff\xff", 7));
    Say("\xff\xff\xff\xff");
    Say(std::string("\0\0\0\0", 4));
    Say("\x08");
    Say(std::string("\x08\0\0\0abc", 7));
  });
}

TEST_F(StrangersTest, OneThatIsReadyBeforeItHasJoinedIsTurnedAway) {
  FormDespite([this] {
    RankChannel channel(Connect());
    worker::v1::RankMessage message;
    message.mutable_ready();
    CHECK_OK(channel.Send(message));
    EXPECT_EQ(channel.Receive(&message).code(), absl::StatusCode::kUnavailable);
  });
}

TEST_F(StrangersTest, ASilentOneIsDroppedInTheEnd) {
  leader_options_.handshake_timeout = absl::Milliseconds(20);
  FormDespite([this] {
    RankChannel channel(Connect());
    worker::v1::LeaderMessage message;
    EXPECT_EQ(channel.Receive(&message).code(), absl::StatusCode::kUnavailable);
  });
}

TEST_F(GroupFormingTest, ARankThatLeavesWhileOthersAreAwaitedEndsTheGroup) {
  leader_options_.world = 3;
  std::thread rank([&] {
    RankChannel channel = JoinByHand(1);
    worker::v1::RankMessage message;
    message.mutable_failed()->set_code(static_cast<int>(absl::StatusCode::kInternal));
    message.mutable_failed()->set_message("no weights");
    CHECK_OK(channel.Send(message));
  });
  const absl::Status status = Form(leader_options_).status();
  EXPECT_EQ(status.message(), "rank 1 failed: no weights");
  rank.join();
}

TEST_F(GroupFormingTest, ARankThatVanishesWhileTheLeaderLoadsIsNoticedBeforeTheLoadHasEnded) {
  leader_options_.world = 2;
  auto joining =
      std::async(std::launch::async, [&] { return GroupMember::Join(MemberOptions(1)); });
  const auto leader = Form(leader_options_);
  ASSERT_TRUE(leader.ok()) << leader.status();
  auto member = joining.get();
  ASSERT_TRUE(member.ok()) << member.status();
  // The leader would load now.
  member->reset();
  EXPECT_EQ(lost_.get_future().get().code(), absl::StatusCode::kUnavailable);
}

TEST_F(GroupFormingTest, ARankThatLoadsNoticesThatItsLeaderIsGone) {
  leader_options_.world = 2;
  auto joining =
      std::async(std::launch::async, [&] { return GroupMember::Join(MemberOptions(1)); });
  leader_options_.on_lost = [](const absl::Status&) {};
  auto leader = Form(leader_options_);
  ASSERT_TRUE(leader.ok()) << leader.status();
  const auto member = joining.get();
  ASSERT_TRUE(member.ok()) << member.status();
  EXPECT_FALSE((*member)->abandoned());
  leader->reset();
  // What a load looks at between two tensors.
  while (!(*member)->abandoned()) std::this_thread::yield();
}

TEST_F(GroupFormingTest, FormingCanBeInterrupted) {
  leader_options_.world = 2;
  const UniqueFd interrupt(eventfd(1, EFD_CLOEXEC));
  leader_options_.interrupt_fd = interrupt.get();
  EXPECT_EQ(Form(leader_options_).status().code(), absl::StatusCode::kCancelled);
}

TEST_F(GroupFormingTest, WaitingForRanksThatLoadCanBeInterrupted) {
  leader_options_.world = 2;
  const UniqueFd interrupt(eventfd(0, EFD_CLOEXEC));
  leader_options_.interrupt_fd = interrupt.get();
  leader_options_.on_lost = [](const absl::Status& status) { ADD_FAILURE() << status; };
  auto joining =
      std::async(std::launch::async, [&] { return GroupMember::Join(MemberOptions(1)); });
  auto leader = Form(leader_options_);
  ASSERT_TRUE(leader.ok()) << leader.status();
  const auto member = joining.get();
  ASSERT_TRUE(member.ok()) << member.status();
  AddingDecoder decoder((*leader)->communicator());
  ASSERT_EQ(eventfd_write(interrupt.get(), 1), 0);
  EXPECT_EQ((*leader)->AwaitReady(&decoder, kWeightsDigest).code(), absl::StatusCode::kCancelled);
}

TEST_F(GroupFormingTest, SaysWhichRankDidNotJoin) {
  leader_options_.world = 2;
  leader_options_.startup_timeout = absl::Milliseconds(1);
  const absl::Status status = Form(leader_options_).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_NE(status.message().find("rank 1 did not join"), absl::string_view::npos) << status;
}

TEST_F(GroupFormingTest, SaysHowAChildEndedThatNeverJoined) {
  leader_options_.world = 2;
  leader_options_.rank_command = [](int) {
    return std::vector<std::string>{"/bin/sh", "-c", "exit 5"};
  };
  const absl::Status status = Form(leader_options_).status();
  EXPECT_EQ(status.message(), "rank 1 exited with code 5 while the group formed");
}

TEST_F(GroupFormingTest, SaysHowAChildEndedThatConnectedButDidNotJoin) {
  leader_options_.world = 2;
  setenv(kAddressVariable, leader_options_.address.c_str(), 1);
  leader_options_.rank_command = [](int) {
    return std::vector<std::string>{"/proc/self/exe", "--gtest_also_run_disabled_tests",
                                    "--gtest_filter=Child.DISABLED_ConnectsAndEnds"};
  };
  const absl::Status status = Form(leader_options_).status();
  EXPECT_EQ(status.message(), "rank 1 exited with code 7 while the group formed");
}

TEST_F(GroupFormingTest, AChildThatDoesNotFitEndsTheGroup) {
  leader_options_.world = 2;
  setenv(kAddressVariable, leader_options_.address.c_str(), 1);
  leader_options_.rank_command = [](int) {
    return std::vector<std::string>{"/proc/self/exe", "--gtest_also_run_disabled_tests",
                                    "--gtest_filter=Child.DISABLED_JoinsAnotherWorld"};
  };
  const absl::Status status = Form(leader_options_).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(status.message(), "rank 1 of 7 joined a group of 2");
}

// What AChildThatDoesNotFitEndsTheGroup runs as a child.
TEST(Child, DISABLED_JoinsAnotherWorld) {
  RankChannel channel(ConnectUnix(getenv(kAddressVariable), absl::Minutes(1)).value());
  worker::v1::RankMessage message;
  message.mutable_join()->set_rank(1);
  message.mutable_join()->set_world(7);
  CHECK_OK(channel.Send(message));
  worker::v1::LeaderMessage answer;
  CHECK_OK(channel.Receive(&answer));
  // Until the leader has read its own conclusion from it and ends this process.
  pause();
}

// Not a test of its own, but what SaysHowAChildEndedThatConnectedButDidNotJoin runs as a child.
TEST(Child, DISABLED_ConnectsAndEnds) {
  const auto socket = ConnectUnix(getenv(kAddressVariable), absl::Minutes(1));
  _exit(socket.ok() ? 7 : 1);
}

}  // namespace
}  // namespace phalanx
