#include "coordinator/text/template/chat_template.h"

#include <string>
#include <vector>

#include "coordinator/text/jinja/local_jinja.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

absl::StatusOr<std::string> Render(const std::string& source,
                                   const std::vector<ChatMessage>& messages = {{"user", "hi"}}) {
  static auto* const jinja = new LocalJinja;
  auto chat_template = ChatTemplate::Create(
      *jinja, source,
      {.tokens = {
           {"bos_token", "<s>"}, {"eos_token", "</s>"}, {"pad_token", "<p>"}, {"tools", "<t>"}}});
  if (!chat_template.ok()) return chat_template.status();
  return (*chat_template)->Render(Conversation{messages});
}

TEST(ChatTemplateTest, HasTheVariablesThatTransformersGives) {
  EXPECT_EQ(*Render("{{ bos_token }}{% for m in messages %}{{ m.role }}:{{ m['content'] }}"
                    "{% endfor %}{% if add_generation_prompt %}>{% endif %}{{ eos_token }}"),
            "<s>user:hi></s>");
  EXPECT_EQ(*Render("{{ pad_token }}{{ unk_token is defined }}{{ tools }}{{ documents }}"),
            "<p>FalseNoneNone");
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

TEST(ChatTemplateTest, ReadsJsonForTheTemplatesThatDo) {
  EXPECT_EQ(
      *Render("{{ ('{\"a\": [1, \"b\"]}' | fromjson).a[1] }}{{ '[1]' | from_json | length }}"),
      "b1");
  EXPECT_EQ(Render("{{ '{' | fromjson }}").status().code(), absl::StatusCode::kInvalidArgument);
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

void ExpectRefused(const std::string& source, const std::string& message) {
  LocalJinja jinja;
  SCOPED_TRACE(source);
  const absl::Status status = ChatTemplate::Create(jinja, source, {}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  EXPECT_EQ(std::string(status.message()), "chat template: " + message);
}

TEST(ChatTemplateTest, TellsWhereTheSourceIsWrong) {
  ExpectRefused("a\n{% for %}", "line 2: syntax error: unexpected end of block, expected in");
  ExpectRefused("a\n\n{{ 'x' | nothing }}", "line 3: there is no filter \"nothing\"");
  ExpectRefused("{% if false %}\n{{ 1 is nothing }}\n{% endif %}",
                "line 2: there is no test \"nothing\"");
  ExpectRefused("{% macro f() %}\n{{ nothing(1) }}{% endmacro %}",
                "line 2: there is no function \"nothing\"");
  ExpectRefused("{{ [messages | map('nothing')] }}", "line 1: there is no filter \"nothing\"");
  ExpectRefused("{{ messages | selectattr('role', 'nothing') | list }}",
                "line 1: there is no test \"nothing\"");
  ExpectRefused("{% filter nothing %}{% endfilter %}", "line 1: there is no filter \"nothing\"");
  ExpectRefused("\n{% set x | nothing %}{% endset %}", "line 2: there is no filter \"nothing\"");
  for (const char* const tag : {"include", "extends", "import", "from"}) {
    const std::string more = std::string(tag) == "import" ? " as y" : " import y";
    const bool takes_more = std::string(tag) == "import" || std::string(tag) == "from";
    ExpectRefused(
        "\n{% " + std::string(tag) + " 'x'" + (takes_more ? more : "") + " %}",
        "line 2: {% " + std::string(tag) + " %}: a chat template can use no other template");
  }
}

TEST(ChatTemplateTest, WhatTheTemplateItselfAsksForIsNoFault) {
  EXPECT_EQ(*Render("{% if f is defined %}{{ f() }}{% endif %}x"), "x");
  EXPECT_EQ(*Render("{% if 'f' is filter %}{{ 1 | f }}{% endif %}x"), "x");
  EXPECT_EQ(*Render("{% if 'f' is test %}{{ 1 is f }}{% endif %}x"), "x");
}

TEST(ChatTemplateTest, ACallBesideContentIsNotLeftOutInSilence) {
  const std::string source =
      "{% for m in messages %}{% if m.content is none %}{{ m.tool_calls[0].function.name + "
      "m.tool_calls[0].function.arguments }}{% else %}{{ m.content }}{% endif %}{% endfor %}";
  const ChatMessage call = {.role = "assistant", .tool_calls = {{"id", "f", R"({"a": 1})"}}};
  EXPECT_EQ(*Render(source, {{"user", "hi"}, call}), "hif{\"a\": 1}");
  for (const char* const content : {"", "text"}) {
    ChatMessage with_content = call;
    with_content.content = content;
    const absl::Status status = Render(source, {{"user", "hi"}, with_content}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(status.message().substr(0, 28), "chat.messages[1].tool_calls:") << status;
  }
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
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  EXPECT_NE(status.message().find("takes more than 10000000 steps"), absl::string_view::npos)
      << status;
}

TEST(ChatTemplateTest, StopsEndlessOutput) {
  const std::string long_text(1 << 20, 'x');
  const absl::Status status =
      Render("{% for i in range(1000) %}{{ messages[0].content }}{% endfor %}",
             {{"user", long_text}})
          .status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  EXPECT_NE(status.message().find("writes more than 67108864 bytes"), absl::string_view::npos)
      << status;
}

TEST(ChatTemplateTest, StopsEndlessRecursion) {
  EXPECT_FALSE(Render("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}").ok());
}

TEST(ChatTemplateArgumentsTest, NamesOfTheServersOwnVariablesAreRefused) {
  LocalJinja jinja;
  auto chat_template = ChatTemplate::Create(jinja, "{{ x }}", {.tokens = {{"pad_token", "p"}}});
  ASSERT_TRUE(chat_template.ok());
  Conversation conversation = {.messages = {{"user", "x"}}};
  for (const char* name : {"messages", "tools", "documents", "add_generation_prompt", "pad_token",
                           "raise_exception", "strftime_now"}) {
    conversation.template_arguments_json = std::string("{\"") + name + "\": 1}";
    const absl::Status status = (*chat_template)->Render(conversation).status();
    EXPECT_EQ(status,
              absl::InvalidArgumentError(std::string("chat.template_arguments: the variable \"") +
                                         name + "\" is not the caller's to set"));
  }
  conversation.template_arguments_json = R"({"x": "y", "unk_token": 1})";
  EXPECT_EQ(*(*chat_template)->Render(conversation), "y");
}

}  // namespace
}  // namespace phalanx
