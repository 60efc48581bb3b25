#include "base/log_format.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace phalanx {
namespace {

using nlohmann::json;

LogLine Line(absl::string_view message, absl::string_view tag = "") {
  return {.severity = LogSeverity::kWarning,
          .time = absl::FromUnixMillis(1'700'000'000'123),
          .file = "base/a.cc",
          .line = 12,
          .tag = tag,
          .message = message};
}

std::string Text(absl::string_view message, absl::string_view tag = "") {
  return FormatLogLine(Line(message, tag), LogFormat::kText);
}

std::string Json(absl::string_view message, absl::string_view tag = "") {
  return FormatLogLine(Line(message, tag), LogFormat::kJson);
}

TEST(LogFormatTest, TextHasSeverityTimePlaceAndTag) {
  EXPECT_EQ(Text("hello"), "W 2023-11-14T22:13:20.123Z base/a.cc:12] hello\n");
  EXPECT_EQ(Text("hello", "rank 1"), "W 2023-11-14T22:13:20.123Z base/a.cc:12] [rank 1] hello\n");
}

TEST(LogFormatTest, JsonIsOneObjectALine) {
  EXPECT_EQ(Json("say \"hi\"\n\x01", "rank 1"),
            R"({"time":"2023-11-14T22:13:20.123Z","severity":"WARNING","file":"base/a.cc",)"
            R"("line":12,"tag":"rank 1","message":"say \"hi\"\n\u0001"})"
            "\n");
  EXPECT_FALSE(json::parse(Json("hello")).contains("tag"));
}

TEST(LogFormatTest, JsonIsUtf8WhateverTheMessageIs) {
  for (const char* message : {"\xff\xfe", "\xe2\x82", "\xed\xa0\x80", "ok \xf0\x9f\x98\x80"}) {
    const std::string line = Json(message);
    // The parser refuses what is not UTF-8.
    EXPECT_TRUE(json::accept(line)) << line;
  }
  EXPECT_EQ(json::parse(Json("\xf0\x9f\x98\x80"))["message"], "\xf0\x9f\x98\x80");
}

TEST(LogFormatTest, NoMessageLooksLikeALineOfItsOwnInText) {
  EXPECT_EQ(Text("bad\nE 2023-11-14T22:13:20.123Z a.cc:1] forged\x1b[2J\r"),
            "W 2023-11-14T22:13:20.123Z base/a.cc:12] bad\n"
            "    E 2023-11-14T22:13:20.123Z a.cc:1] forged\\x1b[2J\\r\n");
}

TEST(LogFormatTest, LongMessagesAreCutAndSaySo) {
  for (const std::string& message :
       {std::string(1 << 20, 'x'), std::string(100'000, '\n'), std::string(5000, '\x01'),
        std::string(5000, '\xff'), std::string(kMaxLogLineBytes, '"')}) {
    for (const LogFormat format : {LogFormat::kText, LogFormat::kJson}) {
      const std::string line = FormatLogLine(Line(message), format);
      EXPECT_LE(line.size(), kMaxLogLineBytes);
      EXPECT_GT(line.size(), kMaxLogLineBytes - 64);
      EXPECT_EQ(line.back(), '\n');
      EXPECT_THAT(line, testing::HasSubstr(" more bytes)"));
      EXPECT_EQ(json::accept(line), format == LogFormat::kJson) << line;
    }
  }
}

TEST(LogFormatTest, WhatJustFitsIsNotCut) {
  const size_t frame = Text("").size();
  const std::string message(kMaxLogLineBytes - frame, 'x');
  EXPECT_EQ(Text(message).size(), kMaxLogLineBytes);
  EXPECT_THAT(Text(message), testing::HasSubstr(message + "\n"));
  EXPECT_THAT(Text(message + "x"), testing::HasSubstr(" more bytes)\n"));
}

}  // namespace
}  // namespace phalanx
