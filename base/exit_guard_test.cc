#include "base/exit_guard.h"

#include <signal.h>
#include <unistd.h>

#include "gtest/gtest.h"

namespace phalanx {
namespace {

// Stands for threads that do not end.
void Hang() {
  while (true) pause();
}

TEST(ExitGuardTest, AnEndInTimeIsLeftAlone) {
  ShutdownSignal shutdown;
  shutdown.Notify();
  ExitGuard guard(&shutdown, absl::Hours(1));
}

TEST(ExitGuardDeathTest, EndsTheProcessAfterTheTimeout) {
  EXPECT_EXIT(
      {
        ShutdownSignal shutdown;
        shutdown.Notify();
        ExitGuard guard(&shutdown, absl::Milliseconds(10));
        Hang();
      },
      ::testing::ExitedWithCode(1), "the end took longer than 10ms");
}

TEST(ExitGuardDeathTest, EndsTheProcessAtAFurtherSignal) {
  EXPECT_EXIT(
      {
        ShutdownSignal shutdown;
        ExitGuard guard(&shutdown, absl::Hours(1));
        kill(getpid(), SIGTERM);
        Hang();
      },
      ::testing::ExitedWithCode(0), "signal 15 while ending");
}

}  // namespace
}  // namespace phalanx
