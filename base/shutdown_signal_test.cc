#include "base/shutdown_signal.h"

#include <poll.h>
#include <signal.h>

#include <thread>

#include "gtest/gtest.h"

namespace phalanx {
namespace {

TEST(ShutdownSignalTest, HandsOutSignalsInsteadOfDying) {
  ShutdownSignal shutdown;
  ASSERT_EQ(raise(SIGTERM), 0);
  EXPECT_EQ(shutdown.Wait(absl::Minutes(1)), SIGTERM);
  ASSERT_EQ(raise(SIGINT), 0);
  EXPECT_EQ(shutdown.Wait(), SIGINT);
}

TEST(ShutdownSignalTest, ASignalIsPendingUntilItIsHandedOut) {
  ShutdownSignal shutdown;
  shutdown.Notify();
  EXPECT_FALSE(shutdown.pending());
  ASSERT_EQ(raise(SIGTERM), 0);
  EXPECT_TRUE(shutdown.pending());
  pollfd signals{shutdown.fd(), POLLIN, 0};
  EXPECT_EQ(poll(&signals, 1, 0), 1);
  EXPECT_EQ(shutdown.Wait(), SIGTERM);
  EXPECT_FALSE(shutdown.pending());
}

TEST(ShutdownSignalTest, IsWokenFromAnotherThread) {
  ShutdownSignal shutdown;
  std::thread notifier([&] { shutdown.Notify(); });
  EXPECT_EQ(shutdown.Wait(), 0);
  notifier.join();
}

TEST(ShutdownSignalTest, StopsWaitingAtTheTimeout) {
  ShutdownSignal shutdown;
  EXPECT_EQ(shutdown.Wait(absl::Milliseconds(1)), -1);
}

}  // namespace
}  // namespace phalanx
