// Templates that take more than they may.

#include <memory>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "coordinator/text/chat_template.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

// Values that hold each other are never freed: bounding that is what is tested here.
extern "C" int __lsan_is_turned_off() { return 1; }

namespace phalanx {
namespace {

using testing::AnyOf;
using testing::HasSubstr;

ChatTemplateOptions SmallLimits() {
  ChatTemplateOptions options;
  options.jinja.max_steps = 1'000'000;
  options.jinja.max_memory_bytes = 4 << 20;
  options.jinja.max_output_bytes = 1 << 20;
  return options;
}

absl::StatusOr<std::string> RenderOnce(const ChatTemplate& chat_template) {
  return chat_template.Render({{{"user", "one"}, {"assistant", "two"}}});
}

absl::StatusOr<std::string> Render(absl::string_view source,
                                   const ChatTemplateOptions& options = SmallLimits()) {
  const auto chat_template = ChatTemplate::Create(source, options);
  if (!chat_template.ok()) return chat_template.status();
  return RenderOnce(**chat_template);
}

void ExpectExhausted(absl::string_view source, const std::string& message,
                     const ChatTemplateOptions& options = SmallLimits()) {
  SCOPED_TRACE(source);
  const absl::Status status = Render(source, options).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(message));
}

TEST(ChatTemplateLimitsTest, StringsAreBoundedHoweverTheyGrow) {
  for (const char* const source : {
           "{% set ns = namespace(x='ab') %}{% for i in range(60) %}"
           "{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
           "{% set ns = namespace(x='ab') %}{% for i in range(60) %}"
           "{% set ns.x = ns.x + ns.x %}{% endfor %}",
           "{% set ns = namespace(x='ab') %}{% for i in range(60) %}"
           "{% set ns.x = ns.x|replace('a', ns.x) %}{% endfor %}",
           "{% set ns = namespace(x='ab') %}{% for i in range(60) %}"
           "{% set ns.x = ns.x.replace('a', ns.x) %}{% endfor %}",
           "{% set ns = namespace(x='ab') %}{% for i in range(60) %}"
           "{% set ns.x = [ns.x, ns.x]|join(ns.x) %}{% endfor %}",
           "{{ messages[0].content * 33000000 }}",
           "{{ messages[0].content|indent(1000000000, true) }}",
           "{{ '%1000000000s'|format(messages[0].content) }}",
           "{{ '{:1000000000}'.format(messages[0].content) }}",
       }) {
    ExpectExhausted(source, "takes too much memory");
  }
  ExpectExhausted(
      "{% set ns = namespace(x='ab') %}{% for i in range(60) %}"
      "{% set x %}{{ ns.x }}{{ ns.x }}{% endset %}{% set ns.x = x %}{% endfor %}",
      "writes too much");
}

TEST(ChatTemplateLimitsTest, SequencesAreBoundedHoweverTheyGrow) {
  for (const char* const source : {
           "{{ (messages * 1000000000000)|list|length }}",
           "{{ (messages * 10000000)|sort(attribute='role')|length }}",
           "{{ messages|batch(1000000000, 'x')|list|length }}",
           "{% set ns = namespace(x=messages) %}{% for i in range(60) %}"
           "{% set ns.x = (ns.x + ns.x)|list %}{% endfor %}",
           "{% set ns = namespace(x={}) %}{% for i in range(100000) %}"
           "{% set ns.x = {i: ns.x} %}{% endfor %}",
       }) {
    ExpectExhausted(source, "takes too much memory");
  }
}

TEST(ChatTemplateLimitsTest, WhatTheCompilerWorksOutIsBoundedToo) {
  for (const char* const source :
       {"{{ 'a' * 90000000 }}",
        "{% if 0 %}{{ ([0] * 1000000000000)|list }}{% endif %}{{ 'a' * 9999999 }}"}) {
    const absl::Status status = Render(source).status();
    EXPECT_FALSE(status.ok());
    EXPECT_THAT(std::string(status.message()), HasSubstr("takes too much memory")) << source;
  }
}

TEST(ChatTemplateLimitsTest, ASequenceThatNeverEndsTakesTooLong) {
  ChatTemplateOptions options = SmallLimits();
  options.jinja.max_time = absl::Milliseconds(20);
  ExpectExhausted("{{ 'x' in messages * 1000000000000 }}", "takes too long", options);
}

TEST(ChatTemplateLimitsTest, ValuesThatHoldThemselvesCannotBeWalked) {
  constexpr absl::string_view kCycle = "{% set ns = namespace() %}{% set ns.x = ns %}";
  for (const char* const use : {"{{ ns }}", "{{ ns|tojson }}", "{{ {ns: 1} }}", "{{ ns ~ 1 }}"}) {
    SCOPED_TRACE(use);
    const absl::Status status = Render(absl::StrCat(kCycle, use)).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
    // Whichever bound is met first.
    EXPECT_THAT(std::string(status.message()),
                AnyOf(HasSubstr("takes too much memory"), HasSubstr("nests too deeply")));
  }
}

TEST(ChatTemplateLimitsTest, DeepValuesAreDroppedWithoutOverflowingTheStack) {
  ChatTemplateOptions options = SmallLimits();
  options.jinja.max_time = absl::Milliseconds(100);
  for (const char* const wrapped :
       {"[ns.x]", "{1: ns.x}", "ns.x[::1]", "ns.x * 1", "namespace(x=ns.x)", "ns.x|reverse",
        "ns.x|items", "[1] + ns.x", "ns.x + [1]", "(ns.x,)", "ns.x[::-1]", "ns.x|select",
        "ns.x|map('string')", "ns.x|batch(1)", "dict(x=ns.x)", "ns.x|default(1)"}) {
    for (const char* const use :
         {"", "{{ ns.x }}", "{{ ns.x == ns.y }}", "{{ ns.x|tojson }}", "{{ ns.x|length }}",
          "{{ [ns.x]|unique }}", "{% for y in ns.x %}{% endfor %}", "{{ ns.x|sort }}"}) {
      const std::string source = absl::StrCat(
          "{% set ns = namespace(x=[]) %}{% for i in range(1000) %}{% for j in range(1000) %}"
          "{% if i == 15 %}{% set ns.y = ns.x %}{% set ns.x = [] %}{% endif %}"
          "{% if i < 30 %}{% set ns.x = ",
          wrapped, " %}{% endif %}{% endfor %}{% endfor %}", use);
      const absl::Status status = Render(source, options).status();
      EXPECT_TRUE(status.ok() || absl::IsResourceExhausted(status) ||
                  absl::IsInvalidArgument(status))
          << wrapped << use << status;
    }
  }
}

TEST(ChatTemplateLimitsTest, LongExpressionsAreRefused) {
  for (const std::string level : {"-", "not ", "+1", "~1", "|a", ".a", "[0]", "()", " is a",
                                  " and 1", "**1", " if 1 else 1", "(", "[", "1,"}) {
    SCOPED_TRACE(level);
    const bool before = absl::StrContains("- not ( [ 1,", level);
    for (const int levels : {500, 2047, 2048, (250 << 10) / static_cast<int>(level.size())}) {
      std::string source = "line\n{{ ";
      if (!before) source += "x";
      for (int i = 0; i < levels; ++i) source += level;
      if (before) source += "x";
      const absl::Status status = Render(source + " }}").status();
      EXPECT_TRUE(status.ok() || absl::IsInvalidArgument(status)) << levels << " " << status;
      if (levels >= 2048) {
        EXPECT_THAT(std::string(status.message()),
                    HasSubstr("line 2: a block of more than 2048 tokens"));
      }
    }
  }
}

TEST(ChatTemplateLimitsTest, ManyLongExpressionsAreCompiledInTime) {
  std::string source;
  while (source.size() < (250 << 10))
    absl::StrAppend(&source, "{{ ", std::string(2000, '-'), "x }}");
  const absl::Time start = absl::Now();
  EXPECT_FALSE(Render(source).ok());
  EXPECT_LT(absl::Now() - start, absl::Seconds(30)) << "minutes without a bound";
}

TEST(ChatTemplateLimitsTest, ALongChainOfElifIsCompiledWithoutOverflowingTheStack) {
  std::string source = "{% if 0 %}";
  while (source.size() < (256 << 10) - 40) source += "{%elif 0%}";
  const absl::Status status = Render(source + "{% else %}x{% endif %}").status();
  EXPECT_THAT(std::string(status.message()), HasSubstr("takes too much memory"));
  ChatTemplateOptions options = SmallLimits();
  options.jinja.max_memory_bytes = 64 << 20;
  const auto text = Render(source + "{% else %}x{% endif %}", options);
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_EQ(*text, "x");
}

TEST(ChatTemplateLimitsTest, ASourceOfMoreThan256KiBIsRefused) {
  EXPECT_TRUE(Render(std::string(256 << 10, 'x')).ok());
  const absl::Status status = Render(std::string((256 << 10) + 1, 'x')).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("262145 bytes, 262144 are allowed"));
}

TEST(ChatTemplateLimitsTest, MessagesOfErrorsAreShort) {
  const absl::Status raised = Render("{{ raise_exception('\u00e4' * 100000) }}").status();
  EXPECT_EQ(raised.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(raised.message()), HasSubstr("\u00e4\u00e4"));
  EXPECT_LT(raised.message().size(), 2100u);
  const absl::Status unknown = Render("{{ 1|" + std::string(100000, 'x') + " }}").status();
  EXPECT_EQ(unknown.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_LT(unknown.message().size(), 1100u);
}

TEST(ChatTemplateLimitsTest, WhatRenderingsLeaveBehindIsBoundedInAll) {
  ChatTemplateOptions options = SmallLimits();
  const auto chat_template = ChatTemplate::Create(
      "{% set ns = namespace(big=messages[0].role * 100000) %}{% set ns.x = ns %}ok", options);
  ASSERT_TRUE(chat_template.ok()) << chat_template.status();
  int renderings = 0;
  while (RenderOnce(**chat_template).ok()) ASSERT_LT(++renderings, 20);
  EXPECT_EQ(renderings, 11) << "the bound, and one that goes beyond it";
  EXPECT_THAT(std::string(RenderOnce(**chat_template).status().message()),
              HasSubstr("keep too much memory"));
}

TEST(ChatTemplateLimitsTest, AnOrdinaryTemplateLeavesNothingBehind) {
  ChatTemplateOptions options = SmallLimits();
  options.jinja.max_memory_bytes = 64 << 10;
  const auto chat_template = ChatTemplate::Create(
      "{% macro shout(x) %}{{ x|upper }}{% endmacro %}{% set ns = namespace(n=0) %}"
      "{% for m in messages %}{% set ns.n = ns.n + 1 %}{{ shout(m.role) ~ m.content|tojson }}"
      "{{ loop.index }}{% endfor %}{{ ns.n }}{{ messages|map(attribute='role')|list }}",
      options);
  ASSERT_TRUE(chat_template.ok()) << chat_template.status();
  for (int i = 0; i < 5000; ++i) {
    const auto text = RenderOnce(**chat_template);
    ASSERT_TRUE(text.ok()) << i << " " << text.status();
  }
}

TEST(ChatTemplateLimitsTest, MessagesAndOutputAreNoMemoryOfTheTemplates) {
  ChatTemplateOptions options = SmallLimits();
  options.jinja.max_memory_bytes = 256 << 10;
  options.jinja.max_output_bytes = 8 << 20;
  const auto chat_template =
      ChatTemplate::Create("{% for m in messages %}{{ m.content }}{% endfor %}", options);
  ASSERT_TRUE(chat_template.ok()) << chat_template.status();
  const std::string content(2 << 20, 'x');
  const Conversation conversation = {
      {{"user", content}, {"assistant", content}, {"user", content}}};
  const auto text = (*chat_template)->Render(conversation);
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_EQ(text->size(), 6u << 20);
}

}  // namespace
}  // namespace phalanx
