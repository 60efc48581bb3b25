#include "client/live_screen.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <optional>
#include <string>

#include "base/log.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

using ::testing::Optional;

// A terminal with somebody in front of it.
class LiveScreenTest : public ::testing::Test {
 protected:
  LiveScreenTest() {
    user_ = posix_openpt(O_RDWR | O_NOCTTY);
    CHECK(user_ >= 0 && grantpt(user_) == 0 && unlockpt(user_) == 0) << "no pseudo-terminal";
    program_ = open(ptsname(user_), O_RDWR | O_NOCTTY);
    CHECK(program_ >= 0) << "the pseudo-terminal does not open";
    const winsize size = {.ws_row = 3, .ws_col = 10, .ws_xpixel = 0, .ws_ypixel = 0};
    CHECK(ioctl(program_, TIOCSWINSZ, &size) == 0) << "TIOCSWINSZ";
    terminal_.emplace(program_, program_, program_, &interrupt_);
  }
  ~LiveScreenTest() override {
    close(program_);
    close(user_);
  }

  // What the screen shows since the last call; ends with `end`.
  std::string Seen(const std::string& end) {
    std::string seen;
    char byte;
    while (seen.size() < end.size() || seen.substr(seen.size() - end.size()) != end) {
      CHECK(read(user_, &byte, 1) == 1) << "the terminal is gone; it showed: " << seen;
      seen.push_back(byte);
    }
    return seen;
  }

  void Press(const std::string& keys) {
    CHECK(write(user_, keys.data(), keys.size()) == static_cast<ssize_t>(keys.size())) << "write";
  }

  tcflag_t LocalModes() const {
    termios mode;
    CHECK(tcgetattr(program_, &mode) == 0) << "tcgetattr";
    return mode.c_lflag;
  }

  int user_ = -1;
  int program_ = -1;
  Interrupt interrupt_;
  std::optional<Terminal> terminal_;
};

TEST_F(LiveScreenTest, ShowsWhatFitsAndLeavesTheTerminalAsItWas) {
  const tcflag_t before = LocalModes();
  {
    LiveScreen screen(&*terminal_);
    EXPECT_EQ(Seen("\x1b[?25l"), "\x1b[?1049h\x1b[?25l");
    EXPECT_EQ(LocalModes() & (ICANON | ECHO), 0u);
    EXPECT_NE(LocalModes() & ISIG, 0u) << "Ctrl-C must stay a signal";
    ASSERT_TRUE(screen.Show("0123456789ab\nsecond\nthird\nfourth\n").ok());
    // The terminal makes "\r\r\n" of "\r\n".
    EXPECT_EQ(Seen("\x1b[J"), "\x1b[H0123456789\x1b[K\r\r\nsecond\x1b[K\r\r\nthird\x1b[K\x1b[J");
  }
  EXPECT_EQ(Seen("\x1b[?1049l"), "\x1b[?25h\x1b[?1049l");
  EXPECT_EQ(LocalModes(), before);
}

TEST_F(LiveScreenTest, KeysComeOneByOneAndTimeoutsWithout) {
  LiveScreen screen(&*terminal_);
  EXPECT_EQ(*terminal_->ReadKey(absl::ZeroDuration()), std::nullopt);
  Press("xq");
  EXPECT_THAT(*terminal_->ReadKey(absl::Minutes(1)), Optional('x'));
  EXPECT_THAT(*terminal_->ReadKey(absl::Minutes(1)), Optional('q'));
}

TEST_F(LiveScreenTest, AnInterruptEndsTheWaitAndTheTerminalIsStillRestored) {
  {
    LiveScreen screen(&*terminal_);
    interrupt_.Raise(SIGTERM);
    EXPECT_TRUE(absl::IsCancelled(terminal_->ReadKey(absl::InfiniteDuration()).status()));
  }
  EXPECT_NE(LocalModes() & ICANON, 0u);
  EXPECT_EQ(Seen("\x1b[?1049l").substr(14), "\x1b[?25h\x1b[?1049l");
}

}  // namespace
}  // namespace phalanx
