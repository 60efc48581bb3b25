// `phalanx bench`.
#ifndef PHALANX_CLIENT_BENCH_COMMAND_H_
#define PHALANX_CLIENT_BENCH_COMMAND_H_

#include "absl/status/status.h"
#include "client/command_context.h"

namespace phalanx {

// Sends requests and prints how fast they were answered; after an interrupt, what is known by then.
// CANCELLED if interrupted, else the first failure of a request, told with the number of failures.
absl::Status Bench(CommandContext& context);

}  // namespace phalanx

#endif  // PHALANX_CLIENT_BENCH_COMMAND_H_
