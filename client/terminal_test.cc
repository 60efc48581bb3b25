#include "client/terminal.h"

#include <signal.h>

#include <optional>
#include <string>
#include <thread>

#include "client/testing/pipe_terminal.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

using ::testing::Optional;

TEST(TerminalTest, ReadsLinesWithAndWithoutNewlineAtTheEnd) {
  PipeTerminal pipes;
  pipes.Type("one\n\ntwo");
  pipes.EndInput();
  EXPECT_THAT(*pipes.get()->ReadLine(), Optional(std::string("one")));
  EXPECT_THAT(*pipes.get()->ReadLine(), Optional(std::string("")));
  EXPECT_THAT(*pipes.get()->ReadLine(), Optional(std::string("two")));
  EXPECT_EQ(*pipes.get()->ReadLine(), std::nullopt);
}

TEST(TerminalTest, ReadsALineThatComesInPieces) {
  PipeTerminal pipes;
  std::thread typist([&] {
    pipes.Type("on");
    pipes.Type("e\n");
  });
  EXPECT_THAT(*pipes.get()->ReadLine(), Optional(std::string("one")));
  typist.join();
}

TEST(TerminalTest, ReadsAllBytesAsTheyAre) {
  PipeTerminal pipes;
  const std::string bytes("a\0\xff\n\n", 5);
  pipes.Type(bytes);
  pipes.EndInput();
  EXPECT_EQ(*pipes.get()->ReadAll(), bytes);
}

TEST(TerminalTest, AnInterruptEndsReading) {
  PipeTerminal pipes;
  std::thread user([&] { pipes.interrupt().Raise(SIGINT); });
  EXPECT_TRUE(absl::IsCancelled(pipes.get()->ReadLine().status()));
  user.join();
  pipes.interrupt().Clear();
  pipes.Type("again\n");
  EXPECT_THAT(*pipes.get()->ReadLine(), Optional(std::string("again")));
}

TEST(TerminalTest, WritesMoreThanAPipeHolds) {
  PipeTerminal pipes;
  const std::string text = std::string(100'000, 'x') + "!";
  std::thread writer([&] { EXPECT_TRUE(pipes.get()->Write(text).ok()); });
  EXPECT_EQ(pipes.WaitForOutput("!"), text);
  writer.join();
}

TEST(TerminalTest, AnInterruptEndsAWriteThatNobodyReads) {
  PipeTerminal pipes;
  std::thread user([&] { pipes.interrupt().Raise(SIGINT); });
  EXPECT_TRUE(absl::IsCancelled(pipes.get()->Write(std::string(1 << 20, 'x'))));
  user.join();
}

TEST(TerminalTest, KnowsThatItsReaderIsGone) {
  PipeTerminal pipes;
  EXPECT_FALSE(pipes.get()->output_closed());
  pipes.CloseOutputReader();
  EXPECT_FALSE(pipes.get()->Write("x").ok());
  EXPECT_TRUE(pipes.get()->output_closed());
}

TEST(InterruptTest, CancelsWhatIsGuardedNowOrLater) {
  Interrupt interrupt;
  {
    InterruptGuard guard(&interrupt);
    EXPECT_FALSE(guard.cancellation()->cancelled());
    interrupt.Raise(SIGINT);
    EXPECT_TRUE(guard.cancellation()->cancelled());
  }
  EXPECT_TRUE(InterruptGuard(&interrupt).cancellation()->cancelled());
  interrupt.Clear();
  EXPECT_FALSE(InterruptGuard(&interrupt).cancellation()->cancelled());
}

TEST(InterruptTest, ClearDoesNotForgetATermination) {
  Interrupt interrupt;
  interrupt.Raise(SIGTERM);
  interrupt.Clear();
  EXPECT_TRUE(interrupt.raised());
}

}  // namespace
}  // namespace phalanx
