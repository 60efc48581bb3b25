#include "base/log_format.h"

#include <algorithm>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"

namespace phalanx {
namespace {

constexpr absl::string_view kSeverityNames[] = {"INFO", "WARNING", "ERROR", "FATAL"};

std::string TimeText(absl::Time time) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", time, absl::UTCTimeZone());
}

std::string Printable(absl::string_view message) {
  std::string text;
  text.reserve(message.size());
  for (const char c : message) {
    if (c == '\n') {
      text += "\n    ";
    } else if ((static_cast<unsigned char>(c) < 0x20 && c != '\t') || c == 0x7f) {
      text += absl::CHexEscape(absl::string_view(&c, 1));
    } else {
      text += c;
    }
  }
  return text;
}

std::string Render(const LogLine& line, absl::string_view message, LogFormat format) {
  const auto severity = static_cast<int>(line.severity);
  if (format == LogFormat::kText) {
    const std::string tag = line.tag.empty() ? "" : absl::StrCat("[", line.tag, "] ");
    return absl::StrCat(absl::string_view(&"IWEF"[severity], 1), " ", TimeText(line.time), " ",
                        line.file, ":", line.line, "] ", tag, Printable(message), "\n");
  }
  nlohmann::ordered_json object = {{"time", TimeText(line.time)},
                                   {"severity", std::string(kSeverityNames[severity])},
                                   {"file", std::string(line.file)},
                                   {"line", line.line}};
  if (!line.tag.empty()) object["tag"] = std::string(line.tag);
  object["message"] = std::string(message);
  return object.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace

std::string FormatLogLine(const LogLine& line, LogFormat format) {
  // More than this cannot fit, so the rest of a huge message is never formatted.
  size_t kept = std::min(line.message.size(), kMaxLogLineBytes);
  while (true) {
    std::string message(line.message.substr(0, kept));
    if (kept < line.message.size()) {
      absl::StrAppend(&message, "... (", line.message.size() - kept, " more bytes)");
    }
    std::string text = Render(line, message, format);
    if (text.size() <= kMaxLogLineBytes || kept == 0) return text;
    // Takes away no more than it must: a byte of the message takes at most 6 bytes in the line.
    kept -= std::min(kept, (text.size() - kMaxLogLineBytes + 5) / 6);
  }
}

}  // namespace phalanx
