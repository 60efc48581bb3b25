#include "client/answer_printer.h"

#include <string>

#include "base/testing/fake_clock.h"
#include "client/testing/pipe_terminal.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

v1::GenerateEvent Delta(int choice, const std::string& text, const std::string& reasoning = "") {
  v1::GenerateEvent event;
  event.mutable_delta()->set_choice(choice);
  event.mutable_delta()->add_token_ids(1);
  event.mutable_delta()->set_text(text);
  event.mutable_delta()->set_reasoning_text(reasoning);
  return event;
}

v1::GenerateEvent Finished(int choice) {
  v1::GenerateEvent event;
  event.mutable_finished()->set_choice(choice);
  event.mutable_finished()->mutable_usage()->set_drafted_tokens(3);
  event.mutable_finished()->mutable_usage()->set_accepted_tokens(2);
  return event;
}

TEST(AnswerPrinterTest, PrintsSeveralChoicesOneAfterTheOther) {
  PipeTerminal pipes;
  FakeClock clock;
  AnswerPrinter printer({.show_reasoning = true, .choices = 2}, pipes.get(), &clock);
  for (const v1::GenerateEvent& event : {Delta(0, "", "hm"), Delta(1, "no\n"), Delta(0, "y"),
                                         Finished(1), Delta(0, "es"), Finished(0)}) {
    EXPECT_TRUE(printer.Print(event).ok());
  }
  EXPECT_TRUE(printer.End(absl::OkStatus()).ok());
  EXPECT_EQ(printer.text(), "yes");
  EXPECT_EQ(printer.stats().completion_tokens, 4);
  EXPECT_EQ(printer.stats().drafted_tokens, 6) << "of all choices";
  EXPECT_EQ(printer.stats().accepted_tokens, 4);
  EXPECT_EQ(pipes.Output(), "[1]\nno\n[0]\nyes\n");
  EXPECT_EQ(pipes.Errors(), "hm\n");
}

TEST(AnswerPrinterTest, PrintsOneChoiceAsItComes) {
  PipeTerminal pipes;
  FakeClock clock;
  AnswerPrinter printer({}, pipes.get(), &clock);
  EXPECT_TRUE(printer.Print(Delta(0, "y")).ok());
  EXPECT_EQ(pipes.WaitForOutput("y"), "y");
  EXPECT_TRUE(printer.Print(Finished(0)).ok());
  EXPECT_TRUE(printer.End(absl::OkStatus()).ok());
  EXPECT_EQ(pipes.Output(), "\n");
}

}  // namespace
}  // namespace phalanx
