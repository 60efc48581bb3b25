#include "client/command_context.h"

#include "base/clock.h"
#include "base/options.h"
#include "base/status.h"
#include "client/answer_printer.h"
#include "client/exit_code.h"
#include "client/format.h"
#include "client/input_text.h"
#include "client/request_template.h"
#include "client/tools_file.h"

namespace phalanx {

CommandContext::CommandContext(const CommandLine& command_line, Terminal* terminal)
    : command_line_(command_line), terminal_(*terminal), client_({command_line.target}) {
  guard_.emplace(terminal_.interrupt());
}

CallOptions CommandContext::call_options() {
  CallOptions options;
  if (command_line_.timeout > absl::ZeroDuration()) options.timeout = command_line_.timeout;
  options.request_id = command_line_.request_id;
  options.cancellation = guard_->cancellation();
  return options;
}

void CommandContext::ForgetInterrupt() {
  // A Cancellation stays cancelled, so the next calls need a new guard. It is made after Clear, and
  // takes up an interrupt that came in between.
  guard_.reset();
  terminal_.interrupt()->Clear();
  guard_.emplace(terminal_.interrupt());
}

CommandContext::AnswerResult CommandContext::Answer(const v1::GenerateRequest& request) {
  AnswerPrinter printer({.json = command_line_.json,
                         .show_reasoning = command_line_.reasoning == ReasoningMode::kShow,
                         .choices = request.has_n() ? request.n() : 1},
                        &terminal_, MonotonicClock());
  absl::Status status =
      client_.Generate(request, call_options(),
                       [&printer](const v1::GenerateEvent& event) { return printer.Print(event); });
  const absl::Status end = printer.End(status);
  if (status.ok()) status = end;
  if (command_line_.stats && status.ok()) terminal_.WriteError(StatsLine(printer.stats()));
  return {status, printer.text(), printer.calls()};
}

absl::StatusOr<v1::Chat> CommandContext::BeginChat() {
  RETURN_IF_ERROR(CheckUtf8("system", command_line_.system.value_or("")));
  RETURN_IF_ERROR(CheckUtf8("continue", command_line_.continue_text.value_or("")));
  RETURN_IF_ERROR(CheckUtf8("template_args", command_line_.template_args.value_or("")));
  v1::Chat chat = NewConversation(command_line_);
  if (!command_line_.tools.has_value()) return chat;
  ASSIGN_OR_RETURN(const std::string json, ReadInputFile(*command_line_.tools, &terminal_));
  RETURN_IF_ERROR(AddTools(*command_line_.tools, json, &chat));
  return chat;
}

int CommandContext::Report(const absl::Status& status) {
  // Whatever `status` says then comes of the closed output, and is not worth a message.
  if (terminal_.output_closed()) return kExitBrokenPipe;
  if (interrupted() && absl::IsCancelled(status)) return kExitInterrupted;
  if (!status.ok()) terminal_.WriteError(DescribeError(status, command_line_.target));
  return ExitCodeFor(status);
}

}  // namespace phalanx
