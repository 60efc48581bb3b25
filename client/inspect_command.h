// `phalanx inspect`.
#ifndef PHALANX_CLIENT_INSPECT_COMMAND_H_
#define PHALANX_CLIENT_INSPECT_COMMAND_H_

#include "client/command_line.h"
#include "client/terminal.h"

namespace phalanx {

// Prints what there is to know about the model and returns the exit code: kExitInvalidRequest if it
// would be refused. Talks to no server.
int Inspect(const CommandLine& command_line, Terminal* terminal);

}  // namespace phalanx

#endif  // PHALANX_CLIENT_INSPECT_COMMAND_H_
