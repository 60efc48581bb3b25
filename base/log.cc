#include "base/log.h"

#include <atomic>
#include <cstdlib>
#include <string>

#include "absl/time/clock.h"
#include "base/log_writer.h"

namespace phalanx {
namespace {

std::atomic<LogSeverity> min_severity{LogSeverity::kInfo};

std::string& Tag() {
  // Never destroyed: threads may log while the process ends.
  static auto* const tag = new std::string;
  return *tag;
}

}  // namespace

void SetMinLogSeverity(LogSeverity severity) { min_severity = severity; }

void SetLogTag(absl::string_view tag) { Tag() = std::string(tag); }

LogMessage::LogMessage(LogSeverity severity, const char* file, int line)
    : severity_(severity), file_(file), line_(line) {}

LogMessage::~LogMessage() {
  if (severity_ >= min_severity.load(std::memory_order_relaxed)) {
    const std::string message = stream_.str();
    WriteLogLine({.severity = severity_,
                  .time = absl::Now(),
                  .file = file_,
                  .line = line_,
                  .tag = Tag(),
                  .message = message});
  }
  if (severity_ == LogSeverity::kFatal) std::abort();
}

}  // namespace phalanx
