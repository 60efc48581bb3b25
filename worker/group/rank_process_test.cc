#include "worker/group/rank_process.h"

#include <signal.h>

#include <cerrno>

#include "gtest/gtest.h"

namespace phalanx {
namespace {

TEST(RankProcessTest, TellsHowTheChildEnded) {
  auto child = RankProcess::Start({"/bin/sh", "-c", "exit 3"});
  ASSERT_TRUE(child.ok()) << child.status();
  ASSERT_TRUE((*child)->Wait(absl::Minutes(1)));
  EXPECT_EQ((*child)->Describe(), "exited with code 3");
}

TEST(RankProcessTest, TellsTheSignal) {
  auto child = RankProcess::Start({"/bin/sh", "-c", "kill -9 $$"});
  ASSERT_TRUE(child.ok());
  ASSERT_TRUE((*child)->Wait(absl::Minutes(1)));
  EXPECT_EQ((*child)->Describe(), "was killed by signal 9 (Killed)");
}

TEST(RankProcessTest, AChildThatTheSystemReapedHasEndedWithUnknownStatus) {
  // A leader inherits this from a parent that ignores the signal.
  const auto previous = signal(SIGCHLD, SIG_IGN);
  auto child = RankProcess::Start({"/bin/sh", "-c", "exit 3"});
  ASSERT_TRUE(child.ok()) << child.status();
  EXPECT_TRUE((*child)->Wait(absl::Minutes(1)));
  EXPECT_EQ((*child)->Describe(), "ended with unknown status");
  signal(SIGCHLD, previous);
}

TEST(RankProcessTest, StopsWaitingAtTheTimeout) {
  auto child = RankProcess::Start({"/bin/sh", "-c", "kill -STOP $$"});
  ASSERT_TRUE(child.ok());
  EXPECT_FALSE((*child)->Wait(absl::ZeroDuration()));
  EXPECT_EQ((*child)->Describe(), "is running");
}

TEST(RankProcessTest, LeavesNoChildBehind) {
  auto child = RankProcess::Start({"/bin/sh", "-c", "kill -STOP $$"});
  ASSERT_TRUE(child.ok());
  const pid_t pid = (*child)->pid();
  child->reset();
  EXPECT_EQ(kill(pid, 0), -1);
  EXPECT_EQ(errno, ESRCH);
}

TEST(RankProcessTest, AMissingProgramShowsInTheExitCode) {
  auto child = RankProcess::Start({"/nonexistent"});
  ASSERT_TRUE(child.ok());
  ASSERT_TRUE((*child)->Wait(absl::Minutes(1)));
  EXPECT_EQ((*child)->Describe(), "exited with code 127");
}

}  // namespace
}  // namespace phalanx
