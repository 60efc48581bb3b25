#include "coordinator/server/model_text_service.h"

#include <atomic>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "coordinator/text/jinja/local_jinja.h"
#include "coordinator/text/testing/tiny_vocabulary.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

absl::StatusOr<std::unique_ptr<TextService>> Make(TokenizerAssets assets,
                                                  ChatAbilities* abilities) {
  return MakeModelTextService(std::move(assets), std::make_unique<LocalJinja>(), abilities);
}

absl::Status ErrorOf(TokenizerAssets assets) {
  ChatAbilities abilities;
  return Make(std::move(assets), &abilities).status();
}

TEST(ModelTextServiceTest, EveryTemplateThatIsUsedIsCheckedAtStart) {
  TokenizerAssets assets = TinyVocabulary();
  assets.chat_template = "a\n{{ x | nothing }}";
  EXPECT_EQ(ErrorOf(assets),
            absl::InvalidArgumentError("chat template: line 2: there is no filter \"nothing\"; "
                                       "--chat_template FILE takes another in its place"));
  assets.chat_template = "a";
  assets.named_chat_templates["tool_use"] = "{{ nothing() }}";
  EXPECT_EQ(ErrorOf(assets),
            absl::InvalidArgumentError(
                "\"tool_use\": chat template: line 1: there is no function \"nothing\"; "
                "--chat_template FILE takes another in its place"));
  assets.named_chat_templates["tool_use"] = "b";
  EXPECT_EQ(ErrorOf(assets), absl::OkStatus());
}

TEST(ModelTextServiceTest, TakesToolsIfATemplateDoes) {
  constexpr char kWithout[] = "{{ messages[0].content }}";
  constexpr char kWith[] = "{{ messages[0].content }}{{ tools | tojson }}";
  TokenizerAssets without = TinyVocabulary(), unnamed = without, named = without;
  without.chat_template = kWithout;
  unnamed.chat_template = kWith;
  named.chat_template = kWithout;
  named.named_chat_templates["tool_use"] = kWith;
  ChatAbilities abilities;
  ASSERT_TRUE(Make(without, &abilities).ok());
  EXPECT_FALSE(abilities.supports_tools);
  ASSERT_TRUE(Make(unnamed, &abilities).ok());
  EXPECT_TRUE(abilities.supports_tools);
  ASSERT_TRUE(Make(named, &abilities).ok());
  EXPECT_TRUE(abilities.supports_tools);
  ASSERT_TRUE(Make(TinyVocabulary(), &abilities).ok());
  EXPECT_FALSE(abilities.supports_tools) << "there is no template";
  EXPECT_FALSE(abilities.has_chat_template);
}

TEST(ModelTextServiceTest, TemplatesGetTheTokensOfTheModel) {
  TokenizerAssets assets = TinyVocabulary();
  assets.template_tokens = {{"pad_token", "ab"}, {"bos_token", "b"}};
  assets.chat_template = "{{ bos_token }}{{ pad_token }}{{ messages[0].content }}{{ unk_token }}";
  ChatAbilities abilities;
  const auto service = Make(assets, &abilities);
  ASSERT_TRUE(service.ok()) << service.status();
  EXPECT_TRUE(abilities.has_chat_template);
  EXPECT_FALSE(abilities.supports_tools);
  const std::atomic<bool> cancelled = false;
  const auto prompt = (*service)->EncodeChat({.messages = {{"user", "x"}}},
                                             /*allow_special=*/false, cancelled);
  ASSERT_TRUE(prompt.ok()) << prompt.status();
  EXPECT_EQ(prompt->text, "babx");
}

}  // namespace
}  // namespace phalanx
