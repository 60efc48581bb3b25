// Compares the real model's tokens and chats with those of Hugging Face.
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>
#include <string>
#include <vector>

#include "coordinator/text/answer/detokenizer.h"
#include "coordinator/text/jinja/local_jinja.h"
#include "coordinator/text/template/chat_encoder.h"
#include "coordinator/text/template/chat_template.h"
#include "coordinator/text/tokenizer/tokenizer.h"
#include "model/files/gguf.h"
#include "model/text/tokenizer_assets_gguf.h"

namespace phalanx {
namespace {

using Ids = std::vector<int32_t>;

class GoldenTest : public testing::Test {
 protected:
  void SetUp() override {
    auto file = GgufFile::Open(std::getenv("SMOLLM2"));
    ASSERT_TRUE(file.ok()) << file.status();
    auto assets = ReadTokenizerAssets(**file);
    ASSERT_TRUE(assets.ok()) << assets.status();
    auto chat_template = ChatTemplate::Create(jinja_, assets->chat_template, {});
    ASSERT_TRUE(chat_template.ok()) << chat_template.status();
    chat_template_ = *std::move(chat_template);
    auto tokenizer = Tokenizer::Create(*assets);
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    tokenizer_ = *std::move(tokenizer);
    std::ifstream(std::getenv("TOKENS_JSON")) >> golden_;
  }

  LocalJinja jinja_;
  std::unique_ptr<ChatTemplate> chat_template_;
  std::unique_ptr<Tokenizer> tokenizer_;
  nlohmann::json golden_;
};

TEST_F(GoldenTest, TextsHaveTheSameTokens) {
  ASSERT_FALSE(golden_["lines"].empty());
  for (const auto& line : golden_["lines"]) {
    const auto text = line["text"].get<std::string>();
    EXPECT_EQ(*tokenizer_->Encode(text), line["ids"].get<Ids>()) << text;
    const auto& with_control = line.value("ids_with_control_tokens", line["ids"]);
    EXPECT_EQ(*tokenizer_->EncodeRendered(text, {}), with_control.get<Ids>()) << text;
  }
}

TEST_F(GoldenTest, ChatsAreRenderedAndEncodedAlike) {
  ASSERT_FALSE(golden_["chats"].empty());
  for (const auto& chat : golden_["chats"]) {
    std::vector<ChatMessage> messages;
    for (const auto& message : chat["messages"]) {
      messages.push_back(
          {message["role"].get<std::string>(), message["content"].get<std::string>()});
    }
    auto encoded = EncodeChat(*tokenizer_, *chat_template_, {messages}, "marker",
                              chat["add_generation_prompt"].get<bool>());
    ASSERT_TRUE(encoded.ok()) << encoded.status();
    EXPECT_EQ(encoded->text, chat["rendered"].get<std::string>());
    EXPECT_EQ(encoded->token_ids, chat["ids"].get<Ids>()) << encoded->text;
  }
}

TEST_F(GoldenTest, EveryTokenDecodesInPiecesAsAtOnce) {
  Ids all(tokenizer_->assets().token_bytes.size());
  std::iota(all.begin(), all.end(), 0);
  Detokenizer at_once(&tokenizer_->assets(), Detokenizer::ControlTokens::kSpell);
  Detokenizer in_pieces(&tokenizer_->assets(), Detokenizer::ControlTokens::kSpell);
  std::string text;
  for (const int32_t id : all) text += in_pieces.Push({&id, 1});
  EXPECT_EQ(text + in_pieces.Flush(), at_once.Push(all) + at_once.Flush());
}

}  // namespace
}  // namespace phalanx
