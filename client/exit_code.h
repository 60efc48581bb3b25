// What the `phalanx` command tells its caller when something went wrong.
#ifndef PHALANX_CLIENT_EXIT_CODE_H_
#define PHALANX_CLIENT_EXIT_CODE_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace phalanx {

// Besides kExitOk, kExitFailure and kExitUsage of base/options.h.
inline constexpr int kExitUnavailable = 3;
inline constexpr int kExitInvalidRequest = 4;
inline constexpr int kExitDeadline = 5;
inline constexpr int kExitResourceExhausted = 6;
// 128 + SIGINT, as shells do.
inline constexpr int kExitInterrupted = 130;
// 128 + SIGPIPE.
inline constexpr int kExitBrokenPipe = 141;

// The text for the help: every code with its meaning, one a line.
absl::string_view ExitCodeHelp();

// The code for the status of a call that ended by itself.
int ExitCodeFor(const absl::Status& status);

// "phalanx: UNAVAILABLE: message\n", then what the server told of it ("field: stop[3]\n", "request:
// ID\n"), and a line with a hint where there is one to give.
std::string DescribeError(const absl::Status& status, absl::string_view target);

}  // namespace phalanx

#endif  // PHALANX_CLIENT_EXIT_CODE_H_
