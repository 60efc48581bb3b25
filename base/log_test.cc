#include "base/log.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

std::string LinesOf(void (*body)()) {
  testing::internal::CaptureStderr();
  body();
  return testing::internal::GetCapturedStderr();
}

TEST(LogTest, WritesOneLineWithSeverityTimeAndPlace) {
  const std::string line = LinesOf([] { LOG(WARNING) << "rank " << 3; });
  EXPECT_THAT(line,
              testing::MatchesRegex("W [0-9-]+T[0-9:.]+Z base/log_test[.]cc:[0-9]+\\] rank 3\n"));
}

TEST(LogTest, DropsWhatIsBelowTheMinimum) {
  SetMinLogSeverity(LogSeverity::kError);
  EXPECT_EQ(LinesOf([] { LOG(WARNING) << "quiet"; }), "");
  EXPECT_NE(LinesOf([] { LOG(ERROR) << "loud"; }), "");
  SetMinLogSeverity(LogSeverity::kInfo);
}

TEST(LogTest, PutsTheTagBeforeTheMessage) {
  SetLogTag("rank 1");
  EXPECT_NE(LinesOf([] { LOG(INFO) << "hello"; }).find("] [rank 1] hello\n"), std::string::npos);
  SetLogTag("");
}

TEST(CheckTest, EndsTheProcessOnlyIfTheConditionFails) {
  CHECK(1 + 1 == 2) << "not evaluated";
  EXPECT_DEATH(CHECK(1 + 1 == 3) << "sums are " << 2, "Check failed: 1 [+] 1 == 3 sums are 2");
}

TEST(CheckTest, BindsNoElse) {
  bool other = false;
  if (false)
    CHECK(false);
  else
    other = true;
  EXPECT_TRUE(other);
}

}  // namespace
}  // namespace phalanx
