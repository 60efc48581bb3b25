// Tests templates that take more than they may. Each of them ends one call, and no other.

#include <memory>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "coordinator/text/renderer/renderer_pool.h"
#include "coordinator/text/template/chat_template.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

using testing::AnyOf;
using testing::HasSubstr;

RendererLimits SmallLimits() {
  RendererLimits limits;
  limits.jinja = {.max_steps = 1'000'000, .max_output_bytes = 1 << 20};
  limits.max_memory_bytes = 24 << 20;
  limits.max_cpu_time = absl::Seconds(2);
  return limits;
}

class RendererLimitsTest : public testing::Test {
 protected:
  void Use(const RendererLimits& limits) { pool_ = *RendererPool::Start(1, limits); }

  absl::StatusOr<std::unique_ptr<ChatTemplate>> Compile(absl::string_view source) {
    return ChatTemplate::Create(*pool_, source, {});
  }

  static absl::StatusOr<std::string> RenderOnce(const ChatTemplate& chat_template) {
    return chat_template.Render({{{"user", "one"}, {"assistant", "two"}}});
  }

  absl::StatusOr<std::string> Render(absl::string_view source) {
    const auto chat_template = Compile(source);
    if (!chat_template.ok()) return chat_template.status();
    return RenderOnce(**chat_template);
  }

  void ExpectLimited(absl::string_view source, const std::string& message) {
    SCOPED_TRACE(source);
    const absl::Status status = Render(source).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(message));
  }

  std::unique_ptr<RendererPool> pool_ = *RendererPool::Start(1, SmallLimits());
};

constexpr char kTooMuchMemory[] = "takes more than 24 MiB of memory";

TEST_F(RendererLimitsTest, StringsAreBoundedHoweverTheyGrow) {
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
    ExpectLimited(source, kTooMuchMemory);
  }
  ExpectLimited(
      "{% set ns = namespace(x='ab') %}{% for i in range(60) %}"
      "{% set x %}{{ ns.x }}{{ ns.x }}{% endset %}{% set ns.x = x %}{% endfor %}",
      "writes more than 1048576 bytes");
}

TEST_F(RendererLimitsTest, SequencesAreBoundedHoweverTheyGrow) {
  for (const char* const source : {
           "{{ (messages * 1000000000000)|list|length }}",
           "{{ (messages * 10000000)|sort(attribute='role')|length }}",
           "{{ messages|batch(1000000000, 'x')|list|length }}",
           "{% set ns = namespace(x=messages) %}{% for i in range(60) %}"
           "{% set ns.x = (ns.x + ns.x)|list %}{% endfor %}",
       }) {
    ExpectLimited(source, kTooMuchMemory);
  }
}

TEST_F(RendererLimitsTest, WhatTheCompilerWorksOutIsBoundedToo) {
  for (const char* const source :
       {"{{ 'a' * 90000000 }}",
        "{% if 0 %}{{ ([0] * 1000000000000)|list }}{% endif %}{{ 'a' * 90000000 }}"}) {
    const absl::Status status = Render(source).status();
    EXPECT_FALSE(status.ok());
    EXPECT_THAT(std::string(status.message()), HasSubstr(kTooMuchMemory)) << source;
  }
}

TEST_F(RendererLimitsTest, ASequenceThatNeverEndsTakesTooLong) {
  ExpectLimited("{{ 'x' in messages * 1000000000000 }}", "takes more than 2s of computing");
}

TEST_F(RendererLimitsTest, ValuesThatHoldThemselvesCannotBeWalked) {
  constexpr absl::string_view kCycle = "{% set ns = namespace() %}{% set ns.x = ns %}";
  for (const char* const use : {"{{ ns }}", "{{ ns|tojson }}", "{{ {ns: 1} }}", "{{ ns ~ 1 }}"}) {
    SCOPED_TRACE(use);
    const absl::Status status = Render(absl::StrCat(kCycle, use)).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    // Memory or stack, whichever bound is met first.
    EXPECT_THAT(std::string(status.message()),
                AnyOf(HasSubstr(kTooMuchMemory), HasSubstr("nests too deeply")));
  }
}

TEST_F(RendererLimitsTest, DeepValuesAreDroppedWithoutOverflowingTheStack) {
  RendererLimits limits = SmallLimits();
  limits.max_cpu_time = absl::Milliseconds(100);
  Use(limits);
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
      const absl::Status status = Render(source).status();
      EXPECT_TRUE(status.ok() || absl::IsInvalidArgument(status)) << wrapped << use << status;
    }
  }
}

TEST_F(RendererLimitsTest, LongExpressionsAreRefused) {
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

TEST_F(RendererLimitsTest, ManyLongExpressionsAreCompiledInTimeOrNotAtAll) {
  std::string source;
  while (source.size() < (250 << 10))
    absl::StrAppend(&source, "{{ ", std::string(2000, '-'), "x }}");
  EXPECT_EQ(Render(source).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(RendererLimitsTest, ALongChainOfElifIsCompiledWithoutOverflowingTheStack) {
  Use({});
  std::string source = "{% if 0 %}";
  while (source.size() < (256 << 10) - 40) source += "{%elif 0%}";
  const auto text = Render(source + "{% else %}x{% endif %}");
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_EQ(*text, "x");
}

TEST_F(RendererLimitsTest, ASourceOfMoreThan256KiBIsRefused) {
  EXPECT_TRUE(Render(std::string(256 << 10, 'x')).ok());
  const absl::Status status = Render(std::string((256 << 10) + 1, 'x')).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("262145 bytes, 262144 are allowed"));
}

TEST_F(RendererLimitsTest, MessagesOfErrorsAreShort) {
  const absl::Status raised = Render("{{ raise_exception('\u00e4' * 100000) }}").status();
  EXPECT_EQ(raised.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(raised.message()), HasSubstr("\u00e4\u00e4"));
  EXPECT_LT(raised.message().size(), 2100u);
  const absl::Status unknown = Render("{{ 1|" + std::string(100000, 'x') + " }}").status();
  EXPECT_EQ(unknown.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_LT(unknown.message().size(), 1100u);
}

TEST_F(RendererLimitsTest, AfterTheWorstTemplatesOthersAreServed) {
  const auto good = Compile("{{ messages[0].content }}");
  const auto bad =
      Compile("{{ ([messages[0].content * 4000] * 1000000)|map('upper')|list|length }}");
  ASSERT_TRUE(good.ok() && bad.ok());
  for (int i = 0; i < 100; ++i) {
    const absl::Status status = RenderOnce(**bad).status();
    ASSERT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    ASSERT_THAT(std::string(status.message()), HasSubstr(kTooMuchMemory));
    ASSERT_EQ(*RenderOnce(**good), "one");
  }
}

TEST_F(RendererLimitsTest, TemplatesThatAreGoneAreForgotten) {
  const auto pids = pool_->idle_pids();
  const std::string source(200 << 10, 'x');
  for (int i = 0; i < 1000; ++i) ASSERT_TRUE(pool_->Compile(source).ok()) << i;
  EXPECT_EQ(pool_->idle_pids(), pids);
}

}  // namespace
}  // namespace phalanx
