// What the subcommands share.
#ifndef PHALANX_CLIENT_COMMAND_CONTEXT_H_
#define PHALANX_CLIENT_COMMAND_CONTEXT_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/command_line.h"
#include "client/inference_client.h"
#include "client/terminal.h"
#include "phalanx/v1/inference.pb.h"

namespace phalanx {

// Thread-compatible. The arguments are lent.
class CommandContext {
 public:
  CommandContext(const CommandLine& command_line, Terminal* terminal);
  CommandContext(const CommandContext&) = delete;
  CommandContext& operator=(const CommandContext&) = delete;

  const CommandLine& command_line() const { return command_line_; }
  Terminal& terminal() { return terminal_; }
  InferenceClient& client() { return client_; }
  // Options with the timeout of the command line and the terminal's interrupt.
  CallOptions call_options();

  // Forgets a Ctrl-C that came: only a new one cancels the calls that follow.
  void ForgetInterrupt();
  // Whether an interrupt came, which cancels at once the calls that follow.
  bool interrupted() { return terminal_.interrupt()->raised(); }

  struct AnswerResult {
    absl::Status status;
    // The text that came before the end, or before the failure.
    std::string text;
    // The tool calls, each put together.
    std::vector<v1::ToolCallDelta> calls = {};
  };
  // Sends the request and prints the answer, and its statistics if asked for.
  AnswerResult Answer(const v1::GenerateRequest& request);

  // A conversation with the command line's system message and tools, if there are any. Errors name
  // what cannot be used.
  absl::StatusOr<v1::Chat> BeginChat();

  // Tells the user what went wrong, if anything did, and returns the exit code for it.
  int Report(const absl::Status& status);

 private:
  const CommandLine& command_line_;
  Terminal& terminal_;
  InferenceClient client_;
  std::optional<InterruptGuard> guard_;
};

}  // namespace phalanx

#endif  // PHALANX_CLIENT_COMMAND_CONTEXT_H_
