#include "coordinator/server/model_text_service.h"

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "coordinator/text/jinja/local_jinja.h"
#include "coordinator/text/testing/tiny_vocabulary.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

using ::testing::ElementsAre;

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

TEST(ModelTextServiceTest, TheTemplateForToolsTellsHowCallsAreWritten) {
  TokenizerAssets assets = TinyVocabulary();
  assets.token_bytes[kControl] = "<tool_call>";
  assets.token_bytes[kUserToken] = "</tool_call>";
  assets.chat_template = "{{ messages[0].content }}";
  assets.named_chat_templates["tool_use"] =
      "{{ messages[0].content }}{{ tools | tojson }}<tool_call>";
  ChatAbilities abilities;
  const auto service = Make(assets, &abilities);
  ASSERT_TRUE(service.ok()) << service.status();
  EXPECT_EQ(abilities.tool_call_format, ToolCallFormat::kHermes);
  EXPECT_EQ(abilities.named_tool_marks, std::vector<std::string>{"</tool_call>"});
  const std::vector<int32_t> ids = {'x', kControl};
  EXPECT_EQ((*service)->NewAnswerDecoder()->Append(ids), "x");
  EXPECT_EQ((*service)->NewToolAnswerDecoder()->Append(ids), "x<tool_call>");
  assets.named_chat_templates["tool_use"] = "{{ messages[0].content }}{{ tools | tojson }}";
  ASSERT_TRUE(Make(assets, &abilities).ok());
  EXPECT_EQ(abilities.tool_call_format, std::nullopt);
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
  const auto prompt = (*service)->EncodeChat({.messages = {{"user", "x"}}}, {}, cancelled);
  ASSERT_TRUE(prompt.ok()) << prompt.status();
  EXPECT_EQ(prompt->text, "babx");
}

TEST(ModelTextServiceTest, AddBosCountsMoreThanTokenizerAndTemplate) {
  const std::atomic<bool> cancelled = false;
  for (const bool adds_itself : {false, true}) {
    SCOPED_TRACE(adds_itself);
    TokenizerAssets assets = TinyVocabulary();
    assets.bos_token_id = kControl;
    assets.add_bos = adds_itself;
    assets.chat_template =
        adds_itself ? "{{ bos_token }}{{ messages[0].content }}" : "{{ messages[0].content }}";
    ChatAbilities abilities;
    const auto service = *Make(assets, &abilities);
    const auto text = [&](std::optional<bool> add_bos) {
      return service->EncodeText("x", {.add_bos = add_bos}, cancelled)->token_ids;
    };
    const auto chat = [&](std::optional<bool> add_bos) {
      return service->EncodeChat({.messages = {{"user", "x"}}}, {.add_bos = add_bos}, cancelled)
          ->token_ids;
    };
    for (const auto& encode : {std::function(text), std::function(chat)}) {
      EXPECT_THAT(encode(true), ElementsAre(kControl, 'x'));
      EXPECT_THAT(encode(false), ElementsAre('x'));
      EXPECT_EQ(encode(std::nullopt), encode(adds_itself));
    }
    // A bos token that the caller has spelled is his, and is not doubled.
    const EncodeOptions spelled = {.allow_special = true, .add_bos = true};
    EXPECT_THAT(service->EncodeText("<|a|>x", {.allow_special = true, .add_bos = false}, cancelled)
                    ->token_ids,
                ElementsAre(kControl, 'x'));
    if (adds_itself) continue;
    EXPECT_THAT(service->EncodeText("<|a|>x", spelled, cancelled)->token_ids,
                ElementsAre(kControl, 'x'));
  }
}

TEST(ModelTextServiceTest, PiecesAreTheTokensBytesAndPlaces) {
  TokenizerAssets assets = TinyVocabulary();
  assets.bos_token_id = kControl;
  assets.chat_template = "<|a|>>{{ messages[0].content }}";
  ChatAbilities abilities;
  const auto service = *Make(assets, &abilities);
  const std::atomic<bool> cancelled = false;
  for (const bool allow_special : {false, true}) {
    const EncodeOptions options = {.allow_special = allow_special, .add_bos = true, .pieces = true};
    const auto prompt = service->EncodeChat({.messages = {{"user", "abc"}}}, options, cancelled);
    ASSERT_TRUE(prompt.ok()) << prompt.status();
    EXPECT_THAT(prompt->token_ids, ElementsAre(kControl, kLongControl, kAbc));
    ASSERT_EQ(prompt->pieces.size(), 3u);
    EXPECT_EQ(prompt->pieces[0].bytes, "<|a|>");
    EXPECT_EQ(prompt->pieces[0].span.end, 0u);
    EXPECT_EQ(prompt->pieces[2].bytes, "abc");
    EXPECT_EQ(prompt->pieces[2].span.begin, 6u);
    EXPECT_EQ(prompt->pieces[2].span.end, 9u);
  }
  EXPECT_TRUE(service->EncodeText("x", {}, cancelled)->pieces.empty());
}

TEST(ModelTextServiceTest, AModelWithoutABosTokenCannotAddIt) {
  ChatAbilities abilities;
  const auto service = *Make(TinyVocabulary(), &abilities);
  const std::atomic<bool> cancelled = false;
  EXPECT_EQ(service->EncodeText("x", {.add_bos = true}, cancelled).status(),
            absl::InvalidArgumentError("add_bos: this model has no bos token"));
  EXPECT_TRUE(service->EncodeText("x", {.add_bos = false}, cancelled).ok());
}

}  // namespace
}  // namespace phalanx
