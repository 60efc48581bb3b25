// The text that a command works on.
#ifndef PHALANX_CLIENT_INPUT_TEXT_H_
#define PHALANX_CLIENT_INPUT_TEXT_H_

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "client/terminal.h"

namespace phalanx {

// INVALID_ARGUMENT, naming the first wrong byte, if `text` is not UTF-8. `name` is for the message.
absl::Status CheckUtf8(absl::string_view name, absl::string_view text);

// `argument`, or all of standard input if that is unset or "-"; one newline at the end of the input
// is dropped. INVALID_ARGUMENT if it is not UTF-8; also the errors of Terminal::ReadAll.
absl::StatusOr<std::string> ReadInputText(absl::string_view name,
                                          const std::optional<std::string>& argument,
                                          Terminal* terminal);

// The file at `path`, or all of standard input if that is "-". INVALID_ARGUMENT,
// with the reason, if it cannot be read or is not UTF-8; also the errors of Terminal::ReadAll.
absl::StatusOr<std::string> ReadInputFile(const std::string& path, Terminal* terminal);

}  // namespace phalanx

#endif  // PHALANX_CLIENT_INPUT_TEXT_H_
