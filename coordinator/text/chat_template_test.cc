#include "coordinator/text/chat_template.h"

#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace phalanx {
namespace {

absl::StatusOr<std::string> Render(const std::string& source,
                                   const std::vector<ChatMessage>& messages = {{"user", "hi"}}) {
  auto chat_template = ChatTemplate::Create(source, {.bos_token = "<s>", .eos_token = "</s>"});
  if (!chat_template.ok()) return chat_template.status();
  return (*chat_template)->Render(Conversation{messages});
}

TEST(ChatTemplateTest, HasTheVariablesThatTransformersGives) {
  EXPECT_EQ(*Render("{{ bos_token }}{% for m in messages %}{{ m.role }}:{{ m['content'] }}"
                    "{% endfor %}{% if add_generation_prompt %}>{% endif %}{{ eos_token }}"),
            "<s>user:hi></s>");
}

TEST(ChatTemplateTest, TrimsBlocksAsTransformersDoes) {
  EXPECT_EQ(*Render("a\n  {% if true %}\nb\n  {% endif %}\nc"), "a\nb\nc");
}

TEST(ChatTemplateTest, KnowsPythonsMethodsAndLoopControls) {
  EXPECT_EQ(*Render("{{ ' x '.strip() }}{{ 'a b'.split()[1] }}{{ 'abc'.startswith('ab') }}"),
            "xbTrue");
  EXPECT_EQ(
      *Render("{% for i in range(9) %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}"),
      "01");
}

TEST(ChatTemplateTest, WritesJsonAsPythonDoes) {
  EXPECT_EQ(*Render("{{ {'a': [1, 'é<'], 'b': none} | tojson }}"),
            "{\"a\": [1, \"é<\"], \"b\": null}");
  EXPECT_EQ(*Render("{{ messages | tojson }}"), "[{\"role\": \"user\", \"content\": \"hi\"}]");
}

TEST(ChatTemplateTest, KnowsTheTime) { EXPECT_EQ(Render("{{ strftime_now('%Y') }}")->size(), 4u); }

TEST(ChatTemplateTest, EscapesNothing) {
  EXPECT_EQ(*Render("{{ messages[0].content }}", {{"user", "<b>&\"'</b>"}}), "<b>&\"'</b>");
}

TEST(ChatTemplateTest, PassesOnWhatTheTemplateRefuses) {
  const absl::Status status =
      Render(
          "{% if messages[0].role != 'system' %}{{ raise_exception('system first') }}{% endif %}")
          .status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(status.message().find("system first"), absl::string_view::npos) << status;
}

TEST(ChatTemplateTest, TellsWhereTheSourceIsWrong) {
  const absl::Status status = ChatTemplate::Create("{% for %}", {}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(status.message().find("syntax"), absl::string_view::npos) << status;
}

TEST(ChatTemplateTest, FailsCleanlyOnARuntimeError) {
  EXPECT_EQ(Render("{{ messages[0].content + 1 }}").status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Render("{{ nothing() }}").status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(ChatTemplateTest, StopsEndlessWork) {
  const absl::Status status =
      Render("{% for i in range(9999) %}{% for j in range(9999) %}{% endfor %}{% endfor %}")
          .status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
}

TEST(ChatTemplateTest, StopsEndlessOutput) {
  const std::string long_text(1 << 20, 'x');
  const absl::Status status =
      Render("{% for i in range(1000) %}{{ messages[0].content }}{% endfor %}",
             {{"user", long_text}})
          .status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
}

TEST(ChatTemplateTest, StopsEndlessRecursion) {
  EXPECT_FALSE(Render("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}").ok());
}

}  // namespace
}  // namespace phalanx
