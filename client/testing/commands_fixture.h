// A command of `phalanx` against a server that the test scripts.
#ifndef PHALANX_CLIENT_TESTING_COMMANDS_FIXTURE_H_
#define PHALANX_CLIENT_TESTING_COMMANDS_FIXTURE_H_

#include <string>

#include "client/commands.h"
#include "client/testing/fake_server.h"
#include "client/testing/pipe_terminal.h"
#include "gtest/gtest.h"

namespace phalanx {

class CommandsTest : public ::testing::Test {
 protected:
  CommandsTest() { line_.target = server_.target(); }

  int Run(Command command) {
    line_.command = command;
    return RunCommand(line_, pipes_.get());
  }

  // An answer that says `text` and then nothing more until it is cancelled.
  void AddEndlessAnswer(const std::string& text) {
    FakeAnswer answer = WholeAnswer({text});
    answer.events.pop_back();
    answer.hang = true;
    server_.AddAnswer(answer);
  }

  FakeServer server_;
  PipeTerminal pipes_;
  CommandLine line_;
};

}  // namespace phalanx

#endif  // PHALANX_CLIENT_TESTING_COMMANDS_FIXTURE_H_
