// What a coordinator asks for with tool_choice, under the constraints of a worker: random answers
// that the masks allow are calls for the coordinator's parser.
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "coordinator/text/answer/tool_call_grammar.h"
#include "coordinator/text/answer/tool_call_parser.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "worker/constraint/constraint.h"

namespace phalanx {
namespace {

const std::vector<ToolGrammar> kTools = {
    {"get_weather",
     R"({"type": "object", "properties": {"unit": {"enum": ["c", "f"]}, "days": {"type": "integer",
         "minimum": 0, "maximum": 9}}, "required": ["unit", "days"],
         "additionalProperties": false})"},
    {"now", R"({"additionalProperties": false})"}};

// An answer that the constraint allows, drawn at random, but ended where it may end: so that it
// does not go on for ever.
std::string DrawAnswer(const Constraint& compiled, uint32_t seed) {
  std::mt19937 random(seed);
  const std::unique_ptr<Constraint> constraint = compiled.Copy();
  const ConstraintVocabulary& vocabulary = constraint->vocabulary();
  std::string text;
  for (int step = 0; step < 2000; ++step) {
    if (constraint->MayEnd() && random() % 2 == 0) return text;
    std::vector<uint32_t> mask(static_cast<size_t>(vocabulary.mask_words()));
    if (!constraint->Mask(absl::MakeSpan(mask)).ok()) break;
    std::vector<int32_t> allowed;
    for (int32_t id = 0; id < vocabulary.vocab(); ++id) {
      const bool space = id == ' ' || id == '\t' || id == '\n' || id == '\r';
      // White space may be anywhere in JSON: seldom taken, else there is nothing else.
      if (space && random() % 8 != 0) continue;
      if ((mask[static_cast<size_t>(id) / 32] >> (id % 32) & 1) != 0) allowed.push_back(id);
    }
    if (allowed.empty()) continue;
    const int32_t token = allowed[random() % allowed.size()];
    const std::vector<int32_t>& ends = vocabulary.end_token_ids();
    if (std::find(ends.begin(), ends.end(), token) != ends.end()) return text;
    if (!constraint->Accept(token).ok()) break;
    absl::StrAppend(&text, vocabulary.TextOf(token));
  }
  ADD_FAILURE() << "no answer, but: " << text;
  return text;
}

struct Case {
  ToolCallFormat format;
  std::vector<std::string> named_marks;
};

class ToolChoiceTest : public ::testing::TestWithParam<Case> {
 protected:
  static std::unique_ptr<Constraint> Compile(const std::vector<ToolGrammar>& tools, bool several) {
    const Case& c = GetParam();
    auto constraint = Constraint::Compile(
        *ConstraintVocabulary::OfBytes(c.named_marks),
        {ConstraintKind::kLark, ToolCallGrammar(c.format, tools, c.named_marks, several)}, {});
    EXPECT_TRUE(constraint.ok()) << constraint.status();
    return constraint.ok() ? *std::move(constraint) : nullptr;
  }
};

TEST_P(ToolChoiceTest, AnswersAreCallsAndNothingElse) {
  const std::unique_ptr<Constraint> constraint = Compile(kTools, /*several=*/true);
  ASSERT_NE(constraint, nullptr);
  int most = 0;
  for (uint32_t seed = 0; seed < 100; ++seed) {
    const std::string answer = DrawAnswer(*constraint, seed);
    ToolCallParser parser(GetParam().format, {"get_weather", "now"});
    ToolCallParser::Output output = parser.Push(answer);
    const ToolCallParser::Output rest = parser.Finish();
    EXPECT_EQ(output.text + rest.text, "") << answer;
    EXPECT_TRUE(rest.calls.empty()) << answer;
    EXPECT_GE(parser.calls(), 1) << answer;
    for (const ToolCallParser::Piece& call : output.calls) {
      EXPECT_EQ(call.end, ToolCallParser::End::kWhole) << answer;
      EXPECT_NE(call.name, "") << answer;
    }
    most = std::max(most, parser.calls());
  }
  EXPECT_EQ(most > 1, GetParam().format != ToolCallFormat::kLlama3);
}

TEST_P(ToolChoiceTest, OneByNameIsThatOneOnce) {
  const std::unique_ptr<Constraint> constraint = Compile({kTools[0]}, /*several=*/false);
  ASSERT_NE(constraint, nullptr);
  for (uint32_t seed = 0; seed < 30; ++seed) {
    ToolCallParser parser(GetParam().format, {"get_weather", "now"});
    const ToolCallParser::Output output = parser.Push(DrawAnswer(*constraint, seed));
    ASSERT_EQ(parser.calls(), 1);
    EXPECT_EQ(output.calls[0].name, "get_weather");
  }
}

INSTANTIATE_TEST_SUITE_P(
    Formats, ToolChoiceTest,
    ::testing::Values(Case{ToolCallFormat::kHermes, {}},
                      Case{ToolCallFormat::kHermes, {"<tool_call>", "</tool_call>"}},
                      Case{ToolCallFormat::kLlama3, {}}, Case{ToolCallFormat::kPhi4Mini, {}},
                      Case{ToolCallFormat::kPhi4Mini, {"<|tool_call|>", "<|/tool_call|>"}}));

}  // namespace
}  // namespace phalanx
