// Reads tools in the form that OpenAI's API has, for Chat.tools.
#ifndef PHALANX_CLIENT_TOOLS_FILE_H_
#define PHALANX_CLIENT_TOOLS_FILE_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "phalanx/v1/inference.pb.h"

namespace phalanx {

// Adds to `chat` the tools of `json`, the text of the file `name`: an array of {"type": "function",
// "function": {"name", "description", "parameters"}}. INVALID_ARGUMENT, naming the file and the
// key, if it is no such array or has a key that would be lost.
absl::Status AddTools(absl::string_view name, const std::string& json, v1::Chat* chat);

}  // namespace phalanx

#endif  // PHALANX_CLIENT_TOOLS_FILE_H_
