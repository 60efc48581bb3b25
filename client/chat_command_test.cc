#include <signal.h>

#include <string>
#include <thread>

#include "base/options.h"
#include "client/exit_code.h"
#include "client/testing/commands_fixture.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

using ::testing::SizeIs;

TEST_F(CommandsTest, ChatSendsTheConversationEachTime) {
  server_.AddAnswer(WholeAnswer({"one"}));
  server_.AddAnswer(WholeAnswer({"two"}));
  line_.system = "s";
  pipes_.Type("first\n\nsecond\n");
  pipes_.EndInput();
  EXPECT_EQ(Run(Command::kChat), kExitOk);
  EXPECT_EQ(pipes_.Output(), "one\ntwo\n");
  const v1::Chat chat = server_.requests().at(1).chat();
  std::string conversation;
  for (const v1::Message& message : chat.messages()) {
    conversation += message.role() + ":" + message.content() + " ";
  }
  EXPECT_EQ(conversation, "system:s user:first assistant:one user:second ");
}

TEST_F(CommandsTest, ChatInterruptStopsOnlyTheAnswer) {
  AddEndlessAnswer("partial");
  server_.AddAnswer(WholeAnswer({"whole"}));
  std::thread user([this] {
    pipes_.Type("first\n");
    pipes_.WaitForOutput("partial");
    pipes_.interrupt().Raise(SIGINT);
    server_.WaitForCancelled(1);
    // Only a chat that is back at its input reads on.
    pipes_.WaitForOutput("\n");
    pipes_.Type("second\n");
    pipes_.WaitForOutput("whole\n");
    pipes_.EndInput();
  });
  EXPECT_EQ(Run(Command::kChat), kExitOk);
  user.join();
  EXPECT_EQ(server_.requests().at(1).chat().messages(1).content(), "partial");
}

TEST_F(CommandsTest, ChatInterruptWhileWaitingForInputLeaves) {
  std::thread user([this] { pipes_.interrupt().Raise(SIGINT); });
  EXPECT_EQ(Run(Command::kChat), kExitInterrupted);
  user.join();
}

TEST_F(CommandsTest, ChatTerminationDuringAnAnswerLeaves) {
  AddEndlessAnswer("partial");
  std::thread user([this] {
    pipes_.Type("first\n");
    pipes_.WaitForOutput("partial");
    pipes_.interrupt().Raise(SIGTERM);
  });
  EXPECT_EQ(Run(Command::kChat), kExitInterrupted);
  user.join();
  server_.WaitForCancelled(1);
}

TEST_F(CommandsTest, ChatInAScriptEndsWithTheFirstFailure) {
  server_.AddAnswer({{}, absl::UnavailableError("no group"), false});
  pipes_.Type("first\nsecond\n");
  EXPECT_EQ(Run(Command::kChat), kExitUnavailable);
  EXPECT_THAT(server_.requests(), SizeIs(1));
}

}  // namespace
}  // namespace phalanx
