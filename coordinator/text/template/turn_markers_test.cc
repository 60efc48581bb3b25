#include "coordinator/text/template/turn_markers.h"

#include <memory>
#include <string>

#include "coordinator/text/jinja/local_jinja.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

// Writes roles between brackets, as Phi-4-mini's template does.
constexpr char kComposed[] =
    "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] }}"
    "{% if m['tools'] is defined %}{{ '<|tool|>' + m['tools'] }}{% endif %}{{ '<|end|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|><think>\n' }}{% endif %}";

class TurnMarkersTest : public testing::Test {
 protected:
  TurnMarkersTest() {
    Add("<|end|>", TokenKind::kControl);             // 0
    Add("<|user|>", TokenKind::kUserDefined);        // 1
    Add("<|assistant|>", TokenKind::kNormal);        // 2: a normal token, but no merge makes it
    Add("<|system|>", TokenKind::kUserDefined);      // 3
    Add("<|tool|>", TokenKind::kUserDefined);        // 4
    Add("<think>", TokenKind::kUserDefined);         // 5
    Add("\n", TokenKind::kUserDefined);              // 6
    Add("<|unheard_of|>", TokenKind::kUserDefined);  // 7
  }

  void Add(const std::string& bytes, TokenKind kind) {
    assets_.token_bytes.push_back(bytes);
    assets_.token_kinds.push_back(kind);
  }

  std::vector<int32_t> Find(const std::string& source) {
    const auto chat_template = ChatTemplate::Create(jinja_, source, {});
    EXPECT_TRUE(chat_template.ok()) << chat_template.status();
    return FindTurnMarkers(assets_, **chat_template);
  }

  LocalJinja jinja_;
  TokenizerAssets assets_;
};

TEST_F(TurnMarkersTest, AreWhatTheTemplateWritesAroundTurns) {
  EXPECT_THAT(Find(kComposed), ElementsAre(1, 2, 3));
}

TEST_F(TurnMarkersTest, AreFoundInTemplatesThatDemandMuch) {
  EXPECT_THAT(Find("{% if messages[0].role != 'system' %}{{ raise_exception('no system') }}"
                   "{% endif %}<|user|>{{ messages[1].content }}"),
              ElementsAre(1));
  EXPECT_THAT(Find("{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('system') "
                   "}}{% endif %}{% endfor %}<|system|>"),
              ElementsAre(3));
}

TEST_F(TurnMarkersTest, OrdinaryTextIsNone) {
  Add("<|assi", TokenKind::kNormal);
  Add("stant|>", TokenKind::kNormal);
  assets_.merges = {{8, 9}};
  EXPECT_THAT(Find(kComposed), ElementsAre(1, 3));
}

TEST_F(TurnMarkersTest, ATemplateOfWordsHasNone) {
  EXPECT_THAT(Find("{{ messages[0].content }}\nAssistant:"), IsEmpty());
}

}  // namespace
}  // namespace phalanx
