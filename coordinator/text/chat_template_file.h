// Chat templates that the operator gives in place of a model's own.
#ifndef PHALANX_COORDINATOR_TEXT_CHAT_TEMPLATE_FILE_H_
#define PHALANX_COORDINATOR_TEXT_CHAT_TEMPLATE_FILE_H_

#include <string>

#include "absl/status/statusor.h"

namespace phalanx {

// The source in the file at `path`. Errors name the file: NOT_FOUND if it cannot be read,
// INVALID_ARGUMENT if it is empty or larger than 1 MiB, is not UTF-8, or, telling the line, if its
// syntax is wrong.
absl::StatusOr<std::string> ReadChatTemplateFile(const std::string& path);

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_TEXT_CHAT_TEMPLATE_FILE_H_
