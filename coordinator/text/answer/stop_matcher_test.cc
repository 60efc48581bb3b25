#include "coordinator/text/answer/stop_matcher.h"

#include <random>

#include "gtest/gtest.h"

namespace phalanx {
namespace {

struct Result {
  std::string text;
  std::optional<std::string> match;
};

bool operator==(const Result& a, const Result& b) { return a.text == b.text && a.match == b.match; }

// Feeds `text` in pieces of `piece_bytes`.
Result Feed(const std::vector<std::string>& stops, const std::string& text, size_t piece_bytes) {
  StopMatcher matcher(stops);
  Result result;
  for (size_t at = 0; at < text.size(); at += piece_bytes) {
    result.text += matcher.Push(absl::string_view(text).substr(at, piece_bytes));
  }
  result.text += matcher.Flush();
  result.match = matcher.match();
  return result;
}

// Does what the contract of StopMatcher says, in the most obvious way.
Result Naive(const std::vector<std::string>& stops, const std::string& text) {
  for (size_t end = 1; end <= text.size(); ++end) {
    const std::string* longest = nullptr;
    for (const std::string& stop : stops) {
      if (end < stop.size() || text.compare(end - stop.size(), stop.size(), stop) != 0) continue;
      if (longest == nullptr || stop.size() > longest->size()) longest = &stop;
    }
    if (longest != nullptr) return {text.substr(0, end - longest->size()), *longest};
  }
  return {text, std::nullopt};
}

TEST(StopMatcherTest, WithoutStopStringsTextPassesAtOnce) {
  StopMatcher matcher({});
  EXPECT_EQ(matcher.Push("abc"), "abc");
  EXPECT_EQ(matcher.Flush(), "");
  EXPECT_FALSE(matcher.match().has_value());
}

TEST(StopMatcherTest, FindsAStopStringInOnePiece) {
  StopMatcher matcher({"STOP"});
  EXPECT_EQ(matcher.Push("one STOP two"), "one ");
  EXPECT_EQ(matcher.match(), "STOP");
  EXPECT_EQ(matcher.Push("three"), "");
  EXPECT_EQ(matcher.Flush(), "");
}

TEST(StopMatcherTest, HoldsTheBeginningOfOneBackAcrossPieces) {
  StopMatcher matcher({"\n\nUser:"});
  EXPECT_EQ(matcher.Push("yes.\n"), "yes.");
  EXPECT_EQ(matcher.Push("\nUs"), "");
  EXPECT_EQ(matcher.Push("er"), "");
  EXPECT_EQ(matcher.Push(": no"), "");
  EXPECT_EQ(matcher.match(), "\n\nUser:");
}

TEST(StopMatcherTest, GivesBackABeginningThatCameToNothing) {
  StopMatcher matcher({"\n\nUser:"});
  EXPECT_EQ(matcher.Push("a\n\nUs"), "a");
  EXPECT_EQ(matcher.Push("able"), "\n\nUsable");
  EXPECT_EQ(matcher.Push("\n"), "");
  EXPECT_EQ(matcher.Flush(), "\n");
}

TEST(StopMatcherTest, TheMatchThatEndsFirstCounts) {
  EXPECT_EQ(Feed({"abcd", "bc"}, "xabcd", 1), (Result{"xa", "bc"}));
  EXPECT_EQ(Feed({"bc", "abc"}, "xabc", 1), (Result{"x", "abc"}));
}

TEST(StopMatcherTest, FindsAMatchThatOverlapsItsOwnBeginning) {
  EXPECT_EQ(Feed({"aab"}, "aaaab", 1), (Result{"aa", "aab"}));
  EXPECT_EQ(Feed({"ababc"}, "abababc", 2), (Result{"ab", "ababc"}));
}

TEST(StopMatcherTest, KeepsCharactersWhole) {
  // The two characters é and è begin with the same byte.
  StopMatcher matcher({"\xc3\xa9!"});
  EXPECT_EQ(matcher.Push("\xc3\xa8"), "\xc3\xa8");
  EXPECT_EQ(matcher.Push("\xc3\xa9"), "");
  EXPECT_EQ(matcher.Push("?"), "\xc3\xa9?");
}

TEST(StopMatcherTest, EqualsThePlainSearchHoweverTheTextIsCut) {
  std::mt19937 random(7);
  const auto word = [&](size_t max_length) {
    std::string text(1 + random() % max_length, ' ');
    for (char& c : text) c = static_cast<char>('a' + random() % 2);
    return text;
  };
  for (int i = 0; i < 3000; ++i) {
    std::vector<std::string> stops;
    for (size_t n = 1 + random() % 3; n > 0; --n) stops.push_back(word(6));
    const std::string text = word(30);
    EXPECT_EQ(Feed(stops, text, 1 + random() % 5), Naive(stops, text)) << text;
  }
}

}  // namespace
}  // namespace phalanx
