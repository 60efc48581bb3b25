// Reads chat templates that the operator gives in place of a model's own.
#ifndef PHALANX_COORDINATOR_TEXT_TEMPLATE_CHAT_TEMPLATE_FILE_H_
#define PHALANX_COORDINATOR_TEXT_TEMPLATE_CHAT_TEMPLATE_FILE_H_

#include <string>

#include "absl/status/statusor.h"
#include "coordinator/text/jinja/jinja_template.h"

namespace phalanx {

// Returns the source in the file at `path`. Errors name the file: NOT_FOUND if it cannot be read,
// INVALID_ARGUMENT if it is empty or larger than 1 MiB, and the errors of `compiler`.
absl::StatusOr<std::string> ReadChatTemplateFile(JinjaCompiler& compiler, const std::string& path);

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_TEXT_TEMPLATE_CHAT_TEMPLATE_FILE_H_
