// LOG(INFO|WARNING|ERROR|FATAL) << ...  writes one line to standard error. A program that serves
//                                       has a LogWriter (base/log_writer.h): then LOG never waits.
// CHECK(condition) << ...               ends the process if the condition does not hold.
//
// CHECK is for what this program alone guarantees, never for bytes from disk, network or a caller.
// Debian's Abseil has no absl/log; these names follow it.
#ifndef PHALANX_BASE_LOG_H_
#define PHALANX_BASE_LOG_H_

#include <ostream>
#include <sstream>

#include "absl/strings/string_view.h"
#include "base/log_severity.h"

namespace phalanx {

// Lines below this severity are dropped. Thread-safe. Default: kInfo.
void SetMinLogSeverity(LogSeverity severity);

// Sets a text that is put before every message of this process, for example "rank 1"; empty by
// default. To be called before threads start.
void SetLogTag(absl::string_view tag);

// One line, which is written when the object is destroyed; kFatal then aborts. Use the macros.
class LogMessage {
 public:
  LogMessage(LogSeverity severity, const char* file, int line);
  LogMessage(const LogMessage&) = delete;
  LogMessage& operator=(const LogMessage&) = delete;
  ~LogMessage();

  std::ostream& stream() { return stream_; }

 private:
  const LogSeverity severity_;
  const char* const file_;
  const int line_;
  std::ostringstream stream_;
};

}  // namespace phalanx

#define PHALANX_SEVERITY_INFO ::phalanx::LogSeverity::kInfo
#define PHALANX_SEVERITY_WARNING ::phalanx::LogSeverity::kWarning
#define PHALANX_SEVERITY_ERROR ::phalanx::LogSeverity::kError
#define PHALANX_SEVERITY_FATAL ::phalanx::LogSeverity::kFatal

#define LOG(severity) \
  ::phalanx::LogMessage(PHALANX_SEVERITY_##severity, __FILE__, __LINE__).stream()

// The switch keeps a following `else` from binding to the macro's own `if`.
#define CHECK(condition) \
  switch (0)             \
  case 0:                \
  default:               \
    if (condition)       \
      [[likely]];        \
    else                 \
      LOG(FATAL) << "Check failed: " #condition " "

#define CHECK_OK(expr)                                \
  do {                                                \
    const auto& check_ok_status_ = (expr);            \
    CHECK(check_ok_status_.ok()) << check_ok_status_; \
  } while (false)

#endif  // PHALANX_BASE_LOG_H_
