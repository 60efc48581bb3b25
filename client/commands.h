// What each subcommand of `phalanx` does.
#ifndef PHALANX_CLIENT_COMMANDS_H_
#define PHALANX_CLIENT_COMMANDS_H_

#include "client/command_line.h"
#include "client/terminal.h"

namespace phalanx {

// Runs the command and returns the exit code of the process, having printed any error. An interrupt
// of the terminal cancels the call that is under way. `terminal` is lent.
int RunCommand(const CommandLine& command_line, Terminal* terminal);

}  // namespace phalanx

#endif  // PHALANX_CLIENT_COMMANDS_H_
