#include "coordinator/text/answer/tool_call_parser.h"

#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace phalanx {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

const absl::flat_hash_set<std::string> kTools = {"get_weather", "now", "get_current_temperature"};

// A parser's whole output: the text, then each call as "name(arguments)", with "!" if it is broken
// and "?" if it has not ended.
struct Parsed {
  std::string text = {};
  std::vector<std::string> calls = {};

  friend bool operator==(const Parsed&, const Parsed&) = default;
  friend std::ostream& operator<<(std::ostream& out, const Parsed& parsed) {
    return out << "\"" << parsed.text << "\" [" << absl::StrJoin(parsed.calls, ", ") << "]";
  }
};

class Collector {
 public:
  Collector(ToolCallFormat format) : parser_(format, kTools) {}

  void Push(absl::string_view text) { Take(parser_.Push(text)); }

  Parsed Finish() {
    Take(parser_.Finish());
    EXPECT_EQ(parser_.calls(), static_cast<int>(names_.size()));
    for (size_t i = 0; i < names_.size(); ++i) {
      parsed_.calls.push_back(absl::StrCat(names_[i], "(", arguments_[i], ")", ends_[i]));
    }
    return parsed_;
  }

 private:
  void Take(const ToolCallParser::Output& output) {
    parsed_.text += output.text;
    for (const ToolCallParser::Piece& piece : output.calls) {
      if (!piece.name.empty()) {
        EXPECT_EQ(piece.index, static_cast<int>(names_.size())) << "a name comes once, first";
        names_.push_back(piece.name);
        arguments_.emplace_back();
        ends_.emplace_back("?");
      }
      ASSERT_EQ(piece.index, static_cast<int>(names_.size()) - 1);
      EXPECT_EQ(ends_.back(), "?") << "nothing follows the end";
      arguments_.back() += piece.arguments;
      if (!piece.end.has_value()) continue;
      const bool whole = *piece.end == ToolCallParser::End::kWhole;
      EXPECT_EQ(whole, piece.problem.empty());
      ends_.back() = whole ? "" : "!";
      if (whole) {
        EXPECT_TRUE(nlohmann::json::parse(arguments_.back(), nullptr, false).is_object());
      }
    }
  }

  ToolCallParser parser_;
  Parsed parsed_;
  std::vector<std::string> names_;
  std::vector<std::string> arguments_;
  std::vector<std::string> ends_;
};

Parsed Parse(ToolCallFormat format, const std::string& text) {
  Collector whole(format);
  whole.Push(text);
  const Parsed parsed = whole.Finish();
  // The same however it is cut: in two, at every byte, and into single bytes.
  for (size_t cut = 0; cut <= text.size(); ++cut) {
    Collector halves(format);
    halves.Push(absl::string_view(text).substr(0, cut));
    halves.Push(absl::string_view(text).substr(cut));
    EXPECT_EQ(halves.Finish(), parsed) << "cut at " << cut;
  }
  Collector bytes(format);
  for (const char byte : text) bytes.Push(absl::string_view(&byte, 1));
  EXPECT_EQ(bytes.Finish(), parsed);
  return parsed;
}

void ExpectText(ToolCallFormat format, const std::string& text) {
  EXPECT_EQ(Parse(format, text), Parsed{text}) << text;
}

// From "Function Calling" in Qwen's documentation (qwen.readthedocs.io, version 2.5).
TEST(ToolCallParserTest, QwensOwnExample) {
  EXPECT_EQ(
      Parse(
          ToolCallFormat::kHermes,
          "<tool_call>\n"
          R"({"name": "get_current_temperature", "arguments": {"location": "San Francisco, CA, USA"}})"
          "\n</tool_call>\n<tool_call>\n"
          R"({"name": "get_temperature_date", "arguments": {"location": "San Francisco, CA, USA", "date": "2024-10-01"}})"
          "\n</tool_call>"),
      (Parsed{
          "",
          {R"(get_current_temperature({"location": "San Francisco, CA, USA"}))",
           R"(get_temperature_date({"location": "San Francisco, CA, USA", "date": "2024-10-01"}))"}}));
}

// From "Model Cards and Prompt formats" of Llama 3.1 (JSON based tool calling, and the same in an
// environment with ipython).
TEST(ToolCallParserTest, Llamas3OwnExamples) {
  const std::string call =
      R"({"type": "function", "name": "get_weather", "parameters": {"n": "10", "genre": "all"}})";
  const Parsed expected = {"", {R"(get_weather({"n": "10", "genre": "all"}))"}};
  EXPECT_EQ(Parse(ToolCallFormat::kLlama3, call), expected);
  EXPECT_EQ(Parse(ToolCallFormat::kLlama3, "<|python_tag|>" + call), expected);
  EXPECT_EQ(
      Parse(ToolCallFormat::kLlama3, R"({"name": "get_weather", "parameters": {"city": "Oslo"}})"),
      (Parsed{"", {R"(get_weather({"city": "Oslo"}))"}}));
}

// The first from Ollama's template of phi4-mini, the second from the instructions of Microsoft's
// Phi cookbook for function calling.
TEST(ToolCallParserTest, Phi4MinisOwnExamples) {
  const std::string calls =
      R"([{"name": "get_weather", "arguments": {"city": "Paris"}}, {"name": "now", "arguments": {}}])";
  const Parsed expected = {"", {R"(get_weather({"city": "Paris"}))", "now({})"}};
  EXPECT_EQ(Parse(ToolCallFormat::kPhi4Mini, "<|tool_call|>" + calls + "<|/tool_call|>"), expected);
  EXPECT_EQ(Parse(ToolCallFormat::kPhi4Mini, "functools" + calls), expected);
  EXPECT_EQ(Parse(ToolCallFormat::kPhi4Mini, R"(<|tool_call|>{"name": "now", "arguments": {}})"),
            (Parsed{"", {"now({})"}}));
}

TEST(ToolCallParserTest, ArgumentsAreGivenOnWhileTheyCome) {
  ToolCallParser parser(ToolCallFormat::kHermes, kTools);
  EXPECT_THAT(parser.Push("Well. <tool_call>{\"name\": \"now\", \"argu").calls, IsEmpty());
  ToolCallParser::Output output = parser.Push("ments\": {\"a\"");
  ASSERT_EQ(output.calls.size(), 1u);
  EXPECT_EQ(output.calls[0].name, "now");
  EXPECT_EQ(output.calls[0].arguments, "{\"a\"");
  output = parser.Push(": \"}\"");
  ASSERT_EQ(output.calls.size(), 1u);
  EXPECT_EQ(output.calls[0].name, "");
  EXPECT_EQ(output.calls[0].arguments, ": \"}\"");
  EXPECT_FALSE(output.calls[0].end.has_value());
  output = parser.Push("}}\n</tool_call>");
  EXPECT_EQ(output.calls.at(0).arguments, "}");
  EXPECT_EQ(output.calls[0].end, ToolCallParser::End::kWhole);
}

TEST(ToolCallParserTest, TextAroundCallsStaysAndSpaceBetweenThemGoes) {
  const std::string call = R"(<tool_call>{"name": "now", "arguments": {}}</tool_call>)";
  EXPECT_EQ(Parse(ToolCallFormat::kHermes,
                  absl::StrCat("Let me look. \n", call, "\n\n", call, " \n Done. ")),
            (Parsed{"Let me look. \n \n Done. ", {"now({})", "now({})"}}));
  EXPECT_EQ(Parse(ToolCallFormat::kHermes, call + " \n"), (Parsed{"", {"now({})"}}));
}

TEST(ToolCallParserTest, ACallNeedsNoClosingMark) {
  const Parsed expected = {"", {"now({})"}};
  const std::string call = R"(<tool_call>{"name": "now", "arguments": {}})";
  for (const std::string rest : {"", "\n", "\n</tool", "</tool_call>"}) {
    EXPECT_EQ(Parse(ToolCallFormat::kHermes, call + rest), expected) << rest;
  }
  EXPECT_EQ(Parse(ToolCallFormat::kHermes, call + " so"), (Parsed{" so", {"now({})"}}));
  EXPECT_EQ(Parse(ToolCallFormat::kPhi4Mini, R"(functools[{"name": "now"}, )"),
            (Parsed{", ", {"now({})"}}));
}

TEST(ToolCallParserTest, ArgumentsMayBeMissingBehindAMark) {
  EXPECT_EQ(Parse(ToolCallFormat::kHermes, R"(<tool_call>{"name": "now"}</tool_call>)"),
            (Parsed{"", {"now({})"}}));
  ExpectText(ToolCallFormat::kLlama3, R"({"name": "now"})");
}

TEST(ToolCallParserTest, MembersBesideNameAndArgumentsBelongToTheCall) {
  EXPECT_EQ(
      Parse(ToolCallFormat::kHermes,
            R"(<tool_call>{"id": "x", "name": "now", "arguments": {"a": [1, -2.5e+3, true]}, )"
            R"("type": "function"}</tool_call>)"),
      (Parsed{"", {R"(now({"a": [1, -2.5e+3, true]}))"}}));
}

TEST(ToolCallParserTest, WhatOnlyLooksLikeACallIsText) {
  for (const std::string text :
       {"", " ", "<tool_call", "<tool_call>", "<tool_call>\n", "a <tool_call> b", "</tool_call>",
        "<tool_call>{}</tool_call>", R"(<tool_call>{"arguments": {}, "name": "now"}</tool_call>)",
        R"(<tool_call>{"name": "now", "arguments": "{}"}</tool_call>)",
        R"(<tool_call>{"name": "a b", "arguments": {}}</tool_call>)",
        R"(<tool_call>{"name": 1, "arguments": {}})", R"(<tool_call>{"name": "now")",
        R"(<tool_call>{"name": "now", "other": 1, "arguments": {}})", "{\"name\": \"now\"}",
        R"({"name": "now", "parameters": {}})"}) {
    ExpectText(ToolCallFormat::kHermes, text);
  }
  for (const std::string text :
       {"functools", "functools[", "functools[]", "import functools\nfunctools.wraps(f)",
        R"(functools{"name": "now", "arguments": {}})", "<|tool_call|>", "<|tool_call|>[1]",
        R"([{"name": "now", "arguments": {}}])"}) {
    ExpectText(ToolCallFormat::kPhi4Mini, text);
  }
  for (const std::string text :
       {"  {", "{}", R"({"name": "Alice", "parameters": {}})",
        R"(Call {"name": "now", "parameters": {}})", "<|python_tag|>print(1)",
        R"(<|python_tag|>brave_search.call(query="x"))"}) {
    ExpectText(ToolCallFormat::kLlama3, text);
  }
  ExpectText(ToolCallFormat::kHermes, "<tool_call>" + std::string(600, ' ') + "{");
  ExpectText(ToolCallFormat::kHermes,
             absl::StrCat("<tool_call>{\"name\": \"", std::string(600, 'a'), "\"}"));
}

TEST(ToolCallParserTest, ACallBehindWhatOnlyLooksLikeOneIsFound) {
  const std::string call = R"(<tool_call>{"name": "now", "arguments": {}}</tool_call>)";
  EXPECT_EQ(Parse(ToolCallFormat::kHermes, "<tool_call>" + call),
            (Parsed{"<tool_call>", {"now({})"}}));
  EXPECT_EQ(Parse(ToolCallFormat::kHermes, "<tool_ca" + call), (Parsed{"<tool_ca", {"now({})"}}));
  EXPECT_EQ(
      Parse(ToolCallFormat::kLlama3, R"({"a": 1}<|python_tag|>{"name": "x", "parameters": {}})"),
      (Parsed{R"({"a": 1})", {"x({})"}}));
}

TEST(ToolCallParserTest, ArgumentsThatStopBeingJsonBreakTheCallAndTheRestIsText) {
  EXPECT_EQ(Parse(ToolCallFormat::kHermes,
                  R"(<tool_call>{"name": "now", "arguments": {"a": oops}}</tool_call>)"),
            (Parsed{"oops}}</tool_call>", {R"(now({"a": )!)"}}));
  EXPECT_EQ(Parse(ToolCallFormat::kHermes, R"(<tool_call>{"name": "now", "arguments": {"a": "é)"),
            (Parsed{"", {R"(now({"a": "é)!)"}}));
  const std::string deep = absl::StrCat(R"({"a": )", std::string(64, '['));
  EXPECT_EQ(Parse(ToolCallFormat::kHermes,
                  absl::StrCat(R"(<tool_call>{"name": "now", "arguments": )", deep)),
            (Parsed{"[", {absl::StrCat("now(", deep.substr(0, deep.size() - 1), ")!")}}));
}

TEST(ToolCallParserTest, ABrokenCallIsFollowedByOthers) {
  EXPECT_EQ(
      Parse(ToolCallFormat::kHermes, R"(<tool_call>{"name": "now", "arguments": {x}}</tool_call>)"
                                     R"(<tool_call>{"name": "now", "arguments": {}}</tool_call>)"),
      (Parsed{"x}}</tool_call>", {"now({)!", "now({})"}}));
}

TEST(ToolCallParserTest, Llama3MayWriteSeveralCallsWithSemicolons) {
  EXPECT_EQ(
      Parse(
          ToolCallFormat::kLlama3,
          R"({"name": "now", "parameters": {}}; {"name": "get_weather", "parameters": {"a": 1}})"),
      (Parsed{"", {"now({})", R"(get_weather({"a": 1}))"}}));
  EXPECT_EQ(Parse(ToolCallFormat::kLlama3, R"({"name": "now", "parameters": {}}; and so on)"),
            (Parsed{"; and so on", {"now({})"}}));
}

// Llama 3.x separates calls by "; ", ";", ";" and a new line, or by new lines alone: the first
// three and one new line in vLLM's tests (vllm-project/vllm, tests/tool_parsers/
// test_llama3_json_tool_parser.py), a blank line in transcripts of Llama 3.x 70B.
TEST(ToolCallParserTest, Llama3SeparatesCallsInSeveralWays) {
  for (const std::string separator : {"; ", ";", ";\n", " ; ", "\n", "\n\n", ""}) {
    for (const std::string type : {"", R"("type": "function", )"}) {
      for (const std::string mark : {"", "<|python_tag|>"}) {
        const std::string calls =
            absl::StrCat(mark, "{", type, R"("name": "get_weather", "parameters": {"q": "}; {"}})",
                         separator, "{", type, R"("name": "now", "parameters": {}})");
        EXPECT_EQ(Parse(ToolCallFormat::kLlama3, calls),
                  (Parsed{"", {R"(get_weather({"q": "}; {"}))", "now({})"}}))
            << calls;
      }
    }
  }
}

// What vLLM's same test has around calls.
TEST(ToolCallParserTest, BracesInTheTextAfterALlama3CallAreText) {
  const std::string call = R"({"name": "get_weather", "parameters": {"query": "test"}})";
  const std::string expected = R"(get_weather({"query": "test"}))";
  for (const std::string text :
       {" I used {get_weather} for this.", R"( The arguments I passed were {"query": "test"})",
        R"( {"query": "test"})", "\n{get_weather}", R"( {"name": "unknown", "parameters": {}})"}) {
    EXPECT_EQ(Parse(ToolCallFormat::kLlama3, call + text), (Parsed{text, {expected}}));
  }
  ExpectText(ToolCallFormat::kLlama3, R"({"parameters": {}})");
  EXPECT_EQ(Parse(ToolCallFormat::kLlama3, R"({"name": "now", "parameters": {invalid json})"),
            (Parsed{"invalid json}", {"now({)!"}}));
}

// Phi-4-mini's answer in Microsoft's tutorial of parallel calls is a list behind its mark, which
// nothing closes (paulperet/ai-cookbook-dataset, files/onnx_parallel_functioncalling.md). Lists
// over several lines, text around them and lists that are none are those of vLLM's tests
// (tests/tool_parsers/test_phi4mini_tool_parser.py); "parameters" and a name that is not followed
// by arguments are what other servers' parsers for it expect.
TEST(ToolCallParserTest, Phi4MiniWritesListsInSeveralWays) {
  const std::string calls = R"([{"name": "get_weather", "arguments": {"city": "a ] \"b\" \\"}}, )"
                            R"({"name": "now", "arguments": {"x": [1, []], "y": null}}])";
  const std::vector<std::string> expected = {R"(get_weather({"city": "a ] \"b\" \\"}))",
                                             R"(now({"x": [1, []], "y": null}))"};
  for (const std::string mark : {"<|tool_call|>", "functools"}) {
    EXPECT_EQ(Parse(ToolCallFormat::kPhi4Mini, mark + calls), (Parsed{"", expected}));
    EXPECT_EQ(
        Parse(ToolCallFormat::kPhi4Mini, "Let me check.\n" + mark + calls + "\nAnything else?"),
        (Parsed{"Let me check.\n\nAnything else?", expected}));
    EXPECT_EQ(
        Parse(ToolCallFormat::kPhi4Mini,
              mark + "[\n  {\"name\": \"get_weather\", \"parameters\": {\n    \"a\": 1\n  }},\n"
                     "  {\"name\": \"now\"}\n]"),
        (Parsed{"", {"get_weather({\n    \"a\": 1\n  })", "now({})"}}));
    for (const std::string rest : {"[] This is just text", "[ This is just text ]",
                                   R"([{"name": "now", "arguments": "not a dict"}])", "not json"}) {
      ExpectText(ToolCallFormat::kPhi4Mini, mark + rest);
    }
  }
}

// Random mixtures of what calls are made of: nothing is lost, doubled or moved. The text and the
// arguments, in order, are what is left when the syntax of calls is taken away, so each is a part
// of the input in that order.
TEST(ToolCallParserTest, NothingIsLostInRandomTexts) {
  const std::vector<std::string> parts = {"<tool_call>",
                                          "</tool_call>",
                                          "\n",
                                          " ",
                                          "{",
                                          "}",
                                          "[",
                                          "]",
                                          ",",
                                          ":",
                                          ";",
                                          "\"",
                                          "\\",
                                          R"(<tool_call>{"name": "now", "arguments": {"b": )",
                                          R"(<|tool_call|>[{"name": "now", "arguments": {}}, )",
                                          R"(<|python_tag|>{"name": "now", "parameters": {)",
                                          R"({"name": "now", "arguments": )",
                                          R"({"name": "now", "parameters": {"a": 1}})",
                                          "{}",
                                          R"("name")",
                                          R"("arguments")",
                                          "<|tool_call|>",
                                          "<|/tool_call|>",
                                          "functools",
                                          "é",
                                          "<|python_tag|>",
                                          R"("a": [1, 2.5, null])",
                                          "word",
                                          "<tool",
                                          "0",
                                          "-1e9"};
  std::mt19937 random(7);
  for (const ToolCallFormat format :
       {ToolCallFormat::kHermes, ToolCallFormat::kLlama3, ToolCallFormat::kPhi4Mini}) {
    int calls = 0;
    for (int round = 0; round < 20000; ++round) {
      std::string text;
      for (int i = static_cast<int>(random() % 12); i >= 0; --i) {
        text += parts[random() % parts.size()];
      }
      Collector whole(format);
      whole.Push(text);
      const Parsed parsed = whole.Finish();
      Collector pieces(format);
      for (size_t at = 0; at < text.size();) {
        const size_t bytes = 1 + random() % 9;
        pieces.Push(absl::string_view(text).substr(at, bytes));
        at += bytes;
      }
      ASSERT_EQ(pieces.Finish(), parsed) << text;
      if (parsed.calls.empty()) {
        ASSERT_EQ(parsed.text, text);
      }
      size_t at = 0;
      for (const char byte : parsed.text) {
        at = text.find(byte, at);
        ASSERT_NE(at, std::string::npos) << text;
        ++at;
      }
      calls += static_cast<int>(parsed.calls.size());
    }
    EXPECT_GT(calls, 1000) << "random texts must hold calls";
  }
}

}  // namespace
}  // namespace phalanx
