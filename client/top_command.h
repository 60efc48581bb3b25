// `phalanx top`.
#ifndef PHALANX_CLIENT_TOP_COMMAND_H_
#define PHALANX_CLIENT_TOP_COMMAND_H_

#include "absl/status/status.h"
#include "client/command_context.h"

namespace phalanx {

// Shows what the worker at the command line's target does: on a terminal as a screen that is
// replaced until q or Ctrl-C, else as texts one below the other, or as lines of JSON. A worker that
// cannot be reached at first ends it; on a screen, later failures are shown and it goes on.
absl::Status Top(CommandContext& context);

}  // namespace phalanx

#endif  // PHALANX_CLIENT_TOP_COMMAND_H_
