#include "client/top_command.h"

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "client/live_screen.h"
#include "client/top_view.h"

namespace phalanx {
namespace {

using worker::v1::DumpStateResponse;

// What a terminal gives for Ctrl-D, and for an input that has ended.
constexpr char kEndOfInput = '\x04';

absl::StatusOr<DumpStateResponse> Look(CommandContext& context) {
  absl::StatusOr<DumpStateResponse> state =
      context.client().DumpState(worker::v1::DumpStateRequest(), context.call_options());
  if (!absl::IsUnimplemented(state.status())) return state;
  return absl::InvalidArgumentError(
      absl::StrCat(context.command_line().target,
                   " is no worker: --worker takes what a worker's --listen says, or the grpc= of "
                   "its ready line"));
}

std::string Text(CommandContext& context, const absl::StatusOr<DumpStateResponse>& state) {
  const std::string& target = context.command_line().target;
  if (state.ok()) return TopText(target, *state);
  return absl::StrCat("worker    ", target, "\n", absl::StatusCodeToString(state.status().code()),
                      ": ", state.status().message(), "\n");
}

}  // namespace

absl::Status Top(CommandContext& context) {
  const CommandLine& line = context.command_line();
  Terminal& terminal = context.terminal();
  absl::StatusOr<DumpStateResponse> state = Look(context);
  RETURN_IF_ERROR(state.status());
  const bool live = !line.json && !line.once && terminal.output_is_tty();
  std::optional<LiveScreen> screen;
  if (live) screen.emplace(&terminal);
  for (bool first = true;; first = false) {
    if (live) {
      RETURN_IF_ERROR(screen->Show(absl::StrCat(Text(context, state), "\nq quits\n")));
    } else {
      RETURN_IF_ERROR(state.status());
      RETURN_IF_ERROR(terminal.Write(
          line.json ? absl::StrCat(TopJson(line.target, *state), "\n")
                    : absl::StrCat(first ? "" : "\n", TopText(line.target, *state))));
    }
    if (line.once) return absl::OkStatus();
    ASSIGN_OR_RETURN(const std::optional<char> key, terminal.ReadKey(line.interval));
    if (key == 'q' || key == 'Q' || key == kEndOfInput) return absl::OkStatus();
    state = Look(context);
    if (context.interrupted()) return absl::CancelledError("interrupted");
  }
}

}  // namespace phalanx
