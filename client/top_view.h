// How `phalanx top` shows what a worker group does.
#ifndef PHALANX_CLIENT_TOP_VIEW_H_
#define PHALANX_CLIENT_TOP_VIEW_H_

#include <string>

#include "absl/strings/string_view.h"
#include "phalanx/worker/v1/introspection.pb.h"

namespace phalanx {

// Some lines of totals and a table of the requests, oldest first. `target` is the worker's address.
std::string TopText(absl::string_view target, const worker::v1::DumpStateResponse& state);

// The same as one line of JSON, without a newline at its end.
std::string TopJson(absl::string_view target, const worker::v1::DumpStateResponse& state);

// The text for the help: the fields of TopJson.
absl::string_view TopJsonHelp();

}  // namespace phalanx

#endif  // PHALANX_CLIENT_TOP_VIEW_H_
