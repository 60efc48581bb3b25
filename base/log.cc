#include "base/log.h"

#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace phalanx {
namespace {

std::atomic<LogSeverity> min_severity{LogSeverity::kInfo};

std::string& Tag() {
  static auto* const tag = new std::string;
  return *tag;
}

}  // namespace

void SetMinLogSeverity(LogSeverity severity) { min_severity = severity; }

void SetLogTag(absl::string_view tag) { Tag() = tag.empty() ? "" : absl::StrCat("[", tag, "] "); }

LogMessage::LogMessage(LogSeverity severity, const char* file, int line)
    : severity_(severity), file_(file), line_(line) {}

LogMessage::~LogMessage() {
  if (severity_ >= min_severity.load(std::memory_order_relaxed)) {
    const std::string text =
        absl::StrCat(std::string(1, "IWEF"[static_cast<int>(severity_)]),
                     absl::FormatTime(" %Y-%m-%dT%H:%M:%E3SZ ", absl::Now(), absl::UTCTimeZone()),
                     file_, ":", line_, "] ", Tag(), stream_.str(), "\n");
    // One write, so that lines of several processes on one terminal do not mix.
    [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, text.data(), text.size());
  }
  if (severity_ == LogSeverity::kFatal) std::abort();
}

}  // namespace phalanx
