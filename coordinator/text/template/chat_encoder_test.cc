#include "coordinator/text/template/chat_encoder.h"

#include <memory>
#include <string>
#include <vector>

#include "coordinator/text/jinja/local_jinja.h"
#include "coordinator/text/testing/tiny_vocabulary.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

using testing::ElementsAre;
using testing::ElementsAreArray;

constexpr char kPlain[] = "{% for m in messages %}<|a|>{{ m.content }}{% endfor %}";

class ChatEncoderTest : public testing::Test {
 protected:
  ChatEncoderTest() { tokenizer_ = *Tokenizer::Create(TinyVocabulary()); }

  absl::StatusOr<EncodedText> Encode(const std::string& source,
                                     const std::vector<ChatMessage>& messages) {
    auto chat_template = ChatTemplate::Create(jinja_, source, {});
    if (!chat_template.ok()) return chat_template.status();
    return EncodeChat(*tokenizer_, **chat_template, {messages}, "nonce-");
  }

  LocalJinja jinja_;
  std::unique_ptr<Tokenizer> tokenizer_;
};

TEST_F(ChatEncoderTest, TheTemplatesControlTokensCount) {
  const auto encoded = Encode(kPlain, {{"user", "ab"}, {"assistant", "x"}});
  ASSERT_TRUE(encoded.ok()) << encoded.status();
  EXPECT_EQ(encoded->text, "<|a|>ab<|a|>x");
  EXPECT_THAT(encoded->token_ids, ElementsAre(kControl, kAb, kControl, 'x'));
}

TEST_F(ChatEncoderTest, AMessagesDoNot) {
  const auto encoded = Encode(kPlain, {{"user", "<|a|>"}});
  ASSERT_TRUE(encoded.ok()) << encoded.status();
  EXPECT_EQ(encoded->text, "<|a|><|a|>");
  EXPECT_THAT(encoded->token_ids, ElementsAre(kControl, '<', '|', 'a', '|', '>'));
}

TEST_F(ChatEncoderTest, AMessageCannotLengthenOne) {
  // "<|a|>" of the template and ">" of the message would spell the longer token.
  const auto encoded = Encode(kPlain, {{"user", ">"}});
  ASSERT_TRUE(encoded.ok()) << encoded.status();
  EXPECT_THAT(encoded->token_ids, ElementsAre(kControl, '>'));
}

TEST_F(ChatEncoderTest, TheTextOfMessageAndTemplateIsOneText) {
  // The merge of "a" and "b" crosses the border between the two.
  const auto encoded = Encode("{{ messages[0].content }}b", {{"user", "a"}});
  ASSERT_TRUE(encoded.ok()) << encoded.status();
  EXPECT_THAT(encoded->token_ids, ElementsAre(kAb));
}

TEST_F(ChatEncoderTest, ATemplateThatTrimsIsServed) {
  const std::string trims = "<|a|>{{ messages[0].content | trim }}";
  const auto encoded = Encode(trims, {{"user", "  ab  "}});
  ASSERT_TRUE(encoded.ok()) << encoded.status();
  EXPECT_THAT(encoded->token_ids, ElementsAre(kControl, kAb));
}

TEST_F(ChatEncoderTest, ButNotWithControlTokensThatItCannotKeepApart) {
  const absl::Status status =
      Encode("<|a|>{{ messages[1].content | trim }}", {{"user", "x"}, {"user", " <|a|>"}}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(status.message().find("chat.messages[1].content"), absl::string_view::npos) << status;
}

TEST_F(ChatEncoderTest, AMessageThatLooksLikeAMarkerIsText) {
  const std::string content = "\xee\x80\x80nonce-0\xee\x80\x81";
  const auto encoded = Encode(kPlain, {{"user", content}});
  ASSERT_TRUE(encoded.ok()) << encoded.status();
  std::vector<int32_t> expected = *tokenizer_->Encode(content);
  expected.insert(expected.begin(), kControl);
  EXPECT_THAT(encoded->token_ids, ElementsAreArray(expected));
}

TEST_F(ChatEncoderTest, ATemplatesRefusalIsPassedOn) {
  EXPECT_EQ(Encode("{{ raise_exception('no') }}", {{"user", "x"}}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(ChatEncoderTest, AContinuedMessageEndsThePrompt) {
  constexpr char kTurns[] =
      "{% for m in messages %}<|a|>{{ m.content | trim }}<|a|>{% endfor %}"
      "{% if add_generation_prompt %}<|a|>{% endif %}";
  auto chat_template = ChatTemplate::Create(jinja_, kTurns, {});
  ASSERT_TRUE(chat_template.ok());
  Conversation conversation = {.messages = {{"user", "ab"}, {"assistant", "x<|a|>"}},
                               .tools = {},
                               .continue_last_message = true};
  const auto encoded = EncodeChat(*tokenizer_, **chat_template, conversation, "nonce-");
  ASSERT_TRUE(encoded.ok()) << encoded.status();
  EXPECT_EQ(encoded->text, "<|a|>ab<|a|><|a|>x<|a|>");
  // The spelling in the message stays text.
  EXPECT_THAT(encoded->token_ids,
              ElementsAre(kControl, kAb, kControl, kControl, 'x', '<', '|', 'a', '|', '>'));
  // The template trims, so that white space before the continuation is gone.
  conversation.messages[1].content = "x \n";
  const auto trimmed = EncodeChat(*tokenizer_, **chat_template, conversation, "nonce-");
  ASSERT_TRUE(trimmed.ok()) << trimmed.status();
  EXPECT_EQ(trimmed->text, "<|a|>ab<|a|><|a|>x");
}

TEST_F(ChatEncoderTest, TemplateArgumentsAreTextOfTheCaller) {
  auto chat_template =
      ChatTemplate::Create(jinja_, "<|a|>{{ who }}{% if loud %}!{% endif %}{{ who2.b[0] }}", {});
  ASSERT_TRUE(chat_template.ok());
  Conversation conversation = {.messages = {{"user", "x"}}};
  conversation.template_arguments_json =
      R"({"who": "<|a|>", "loud": true, "who2": {"b": ["<|a|>"]}})";
  const auto encoded = EncodeChat(*tokenizer_, **chat_template, conversation, "nonce-");
  ASSERT_TRUE(encoded.ok()) << encoded.status();
  EXPECT_THAT(encoded->token_ids,
              ElementsAre(kControl, '<', '|', 'a', '|', '>', '!', '<', '|', 'a', '|', '>'));
}

}  // namespace
}  // namespace phalanx
