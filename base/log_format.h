// How one line of the log looks.
#ifndef PHALANX_BASE_LOG_FORMAT_H_
#define PHALANX_BASE_LOG_FORMAT_H_

#include <climits>
#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/log_severity.h"

namespace phalanx {

// kText: "I 2026-01-31T12:00:00.123Z base/log.cc:12] [rank 1] message".
// kJson: one object a line, with time, severity (INFO, WARNING, ERROR, FATAL), file, line, tag
// (only if there is one) and message.
enum class LogFormat { kText, kJson };

// The longest line, its newline included. The kernel writes this much to a pipe in one piece, so
// that lines of several processes do not mix.
inline constexpr size_t kMaxLogLineBytes = PIPE_BUF;

struct LogLine {
  LogSeverity severity;
  absl::Time time;
  absl::string_view file;
  int line;
  // Empty if the process has none; see SetLogTag.
  absl::string_view tag;
  absl::string_view message;
};

// Returns the line with its newline. A message that is too long loses its end, and the line says
// how many bytes are missing. In text, the message's own newlines are indented, so that no message
// can look like a line of its own, and other control characters are escaped. JSON is valid UTF-8
// whatever the message is.
std::string FormatLogLine(const LogLine& line, LogFormat format);

}  // namespace phalanx

#endif  // PHALANX_BASE_LOG_FORMAT_H_
