#include "client/input_text.h"

#include <utf8proc.h>

#include <cerrno>
#include <fstream>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/errno_text.h"
#include "base/status.h"

namespace phalanx {

absl::Status CheckUtf8(absl::string_view name, absl::string_view text) {
  size_t position = 0;
  while (position < text.size()) {
    utf8proc_int32_t code_point;
    const utf8proc_ssize_t length =
        utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()) + position,
                         static_cast<utf8proc_ssize_t>(text.size() - position), &code_point);
    if (length < 0) {
      return absl::InvalidArgumentError(absl::StrCat(name, ": byte ", position, " is not UTF-8"));
    }
    position += static_cast<size_t>(length);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadInputText(absl::string_view name,
                                          const std::optional<std::string>& argument,
                                          Terminal* terminal) {
  std::string text;
  if (argument.has_value() && *argument != "-") {
    text = *argument;
  } else {
    if (terminal->input_is_tty()) {
      terminal->WriteError(absl::StrCat("Type the ", name, "; Ctrl-D on an empty line ends it.\n"));
    }
    ASSIGN_OR_RETURN(text, terminal->ReadAll());
    absl::string_view stripped = text;
    // echo and editors write this newline, which is not meant as a part of the prompt.
    if (absl::ConsumeSuffix(&stripped, "\n")) text.pop_back();
  }
  RETURN_IF_ERROR(CheckUtf8(name, text));
  return text;
}

absl::StatusOr<std::string> ReadInputFile(const std::string& path, Terminal* terminal) {
  std::string text;
  if (path == "-") {
    ASSIGN_OR_RETURN(text, terminal->ReadAll());
  } else {
    std::ifstream file(path, std::ios::binary);
    std::vector<char> piece(1 << 16);
    while (file.read(piece.data(), static_cast<std::streamsize>(piece.size())) ||
           file.gcount() > 0) {
      text.append(piece.data(), static_cast<size_t>(file.gcount()));
    }
    if (!file.is_open() || file.bad()) {
      return absl::InvalidArgumentError(absl::StrCat(path, ": cannot be read: ", ErrnoText(errno)));
    }
  }
  RETURN_IF_ERROR(CheckUtf8(path, text));
  return text;
}

}  // namespace phalanx
