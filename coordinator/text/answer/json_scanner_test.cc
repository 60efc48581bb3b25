#include "coordinator/text/answer/json_scanner.h"

#include <random>
#include <string>

#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace phalanx {
namespace {

using State = JsonScanner::State;

State StateAfter(const std::string& text, size_t* taken, size_t max_depth = 8) {
  JsonScanner scanner(max_depth);
  *taken = scanner.Push(text);
  // The same byte by byte.
  JsonScanner bytes(max_depth);
  size_t taken_bytes = 0;
  for (const char byte : text) taken_bytes += bytes.Push(absl::string_view(&byte, 1));
  EXPECT_EQ(taken_bytes, *taken) << text;
  EXPECT_EQ(bytes.state(), scanner.state()) << text;
  return scanner.state();
}

TEST(JsonScannerTest, AValueEndsWithItsLastBrace) {
  for (const std::string json :
       {"{}", "[]", "{ }", R"({"a":{"b":[1,2,{}]}})", R"(["}", "\"]", "\u00e9\\"])",
        "[0,-0,12,1.5,1e5,1E-5,2.5e+3]", "[true,false,null]", "{\"a\" : 1 ,\n\"b\":\t2}"}) {
    size_t taken = 0;
    EXPECT_EQ(StateAfter(json + "}x", &taken), State::kEnd) << json;
    EXPECT_EQ(taken, json.size()) << json;
  }
}

TEST(JsonScannerTest, TheByteThatCannotFollowIsNotTaken) {
  const std::pair<std::string, size_t> cases[] = {
      {"x", 0},         {" {}", 0},      {"{]", 1},         {"[}", 1},       {"{a", 1},
      {"{\"a\"1", 4},   {"{\"a\":}", 5}, {"{\"a\":1,}", 7}, {"[1,]", 3},     {"[01", 2},
      {"[1.x", 3},      {"[1ex", 3},     {"[-x", 2},        {"[trux", 4},    {"[\"\\x", 3},
      {"[\"\\u00x", 6}, {"[\"\n", 2},    {"[1 2", 3},       {"[+1", 1},      {"[.5", 1},
      {"[1.5.5", 4},    {"[1e5e", 4},    {"[--1", 2},       {"{\"a\":1]", 6}};
  for (const auto& [text, expected] : cases) {
    size_t taken = 0;
    EXPECT_EQ(StateAfter(text, &taken), State::kBroken) << text;
    EXPECT_EQ(taken, expected) << text;
  }
}

TEST(JsonScannerTest, DepthIsLimited) {
  size_t taken = 0;
  EXPECT_EQ(StateAfter(std::string(8, '['), &taken), State::kMore);
  EXPECT_EQ(StateAfter(std::string(9, '['), &taken), State::kBroken);
  EXPECT_EQ(taken, 8u);
}

// Against nlohmann's parser: it takes a text if and only if the scanner ends with its last byte.
TEST(JsonScannerTest, AgreesWithAParserOnRandomTexts) {
  const std::string bytes = "{}[]:,\"\\u0129.eE+- tfnrualse\n";
  std::mt19937 random(3);
  int whole = 0;
  for (int round = 0; round < 300000; ++round) {
    std::string text = random() % 2 == 0 ? "{" : "[";
    // What a parser may take, with a change here and there.
    const std::string seeds[] = {"\"a\":1",     "1,2", "\"b\":[true]", "null", "-1.5e3",
                                 "\"\\u0041\"", "{}",  "[]",           "0"};
    text += seeds[random() % std::size(seeds)];
    text += text[0] == '{' ? "}" : "]";
    for (int i = static_cast<int>(random() % 3); i > 0; --i) {
      text[1 + random() % (text.size() - 1)] = bytes[random() % bytes.size()];
    }
    size_t taken = 0;
    JsonScanner scanner(/*max_depth=*/8);
    taken = scanner.Push(text);
    // The parser takes white space behind the value too.
    const bool rest_is_space = text.find_first_not_of(" \n", taken) == std::string::npos;
    const bool scanned = scanner.state() == State::kEnd && rest_is_space;
    // Numbers beyond double's range are JSON, but the parser takes none.
    if (text.find('E') != std::string::npos || text.find('e') != std::string::npos) {
      if (scanned && !nlohmann::json::accept(text)) continue;
    }
    const bool parsed = nlohmann::json::accept(text);
    ASSERT_EQ(scanned, parsed) << text;
    whole += parsed;
  }
  EXPECT_GT(whole, 10000);
}

}  // namespace
}  // namespace phalanx
