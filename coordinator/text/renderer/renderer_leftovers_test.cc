// Tests what renderings leave behind in the process that does them, and when it is replaced for
// that.

#include <sys/types.h>

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "coordinator/text/jinja/jinja_template.h"
#include "coordinator/text/renderer/renderer_pool.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

constexpr char kVariables[] = R"({"messages": [
    {"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}]})";

class RendererLeftoversTest : public testing::Test {
 protected:
  std::unique_ptr<JinjaTemplate> Compile(absl::string_view source) {
    auto compiled = pool_->Compile(source);
    EXPECT_TRUE(compiled.ok()) << compiled.status();
    return *std::move(compiled);
  }

  const std::unique_ptr<RendererPool> pool_ = *RendererPool::Start(1, {});
};

TEST_F(RendererLeftoversTest, ATemplateThatLeaksIsServedForEver) {
  // The value of `ns` holds itself, and so is never freed.
  const auto compiled =
      Compile("{% set ns = namespace(big=messages[0].role * 1000000) %}{% set ns.x = ns %}ok");
  std::set<pid_t> pids;
  for (int i = 0; i < 100; ++i) {
    const auto text = compiled->Render(kVariables);
    ASSERT_TRUE(text.ok()) << i << " " << text.status();
    EXPECT_EQ(*text, "ok");
    // There is none if the process has just ended.
    for (const pid_t pid : pool_->idle_pids()) pids.insert(pid);
  }
  // Each rendering leaks 4 MB, and a process is replaced once it holds 16 MiB.
  EXPECT_GE(pids.size(), 15u);
}

TEST_F(RendererLeftoversTest, AnOrdinaryTemplateLeavesNothingBehind) {
  const auto compiled = Compile(
      "{% macro shout(x) %}{{ x|upper }}{% endmacro %}{% set ns = namespace(n=0) %}"
      "{% for m in messages %}{% set ns.n = ns.n + 1 %}{{ shout(m.role) ~ m.content|tojson }}"
      "{{ loop.index }}{% endfor %}{{ ns.n }}{{ messages|map(attribute='role')|list }}");
  const std::vector<pid_t> pids = pool_->idle_pids();
  for (int i = 0; i < 5000; ++i) {
    const auto text = compiled->Render(kVariables);
    ASSERT_TRUE(text.ok()) << i << " " << text.status();
  }
  EXPECT_EQ(pool_->idle_pids(), pids) << "still the first process";
}

}  // namespace
}  // namespace phalanx
