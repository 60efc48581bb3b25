// The command line of `phalanx`.
#ifndef PHALANX_CLIENT_COMMAND_LINE_H_
#define PHALANX_CLIENT_COMMAND_LINE_H_

#include <optional>

#include "client/command_values.h"

namespace phalanx {

// Returns the exit code with which main must return now, nullopt to go on. Prints as
// ParseCommandLine in base/options.h does.
std::optional<int> ParseClientCommandLine(int argc, char** argv, CommandLine* command_line);

}  // namespace phalanx

#endif  // PHALANX_CLIENT_COMMAND_LINE_H_
