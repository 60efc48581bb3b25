// Tests vocabularies as published, read from their tokenizer.json: sizes, and known tokens of
// texts.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "coordinator/text/tokenizer/tokenizer.h"
#include "model/text/tokenizer_assets.h"
#include "model/text/tokenizer_assets_hf.h"

namespace phalanx {
namespace {

using testing::Contains;
using testing::ElementsAre;

constexpr int kVocab = 201'088;

// The environment variable `variable` holds the path of a tokenizer.json.
std::unique_ptr<Tokenizer> Load(const char* variable) {
  std::string folder = std::getenv(variable);
  folder.resize(folder.rfind('/'));
  absl::StatusOr<TokenizerAssets> assets = ReadTokenizerAssets(folder, kVocab);
  EXPECT_TRUE(assets.ok()) << assets.status();
  if (!assets.ok()) return nullptr;
  auto tokenizer = Tokenizer::Create(*std::move(assets));
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  return *std::move(tokenizer);
}

TEST(PublishedTokenizersTest, O200k) {
  const auto tokenizer = Load("GPT4O");
  ASSERT_NE(tokenizer, nullptr);
  EXPECT_EQ(tokenizer->assets().token_bytes.size(), 200'019u);
  EXPECT_EQ(tokenizer->assets().token_kinds[199'998], TokenKind::kUnused);
  EXPECT_FALSE(tokenizer->assets().add_bos);
  EXPECT_EQ(tokenizer->assets().eos_token_id, 199'999);
  // The expected tokens are those of tiktoken.
  EXPECT_THAT(*tokenizer->Encode("Hello world"), ElementsAre(13225, 2375));
  EXPECT_THAT(*tokenizer->Encode("I'm HERE, they'LL say DON'T"),
              ElementsAre(15390, 32396, 11, 1023, 6, 7454, 2891, 153384));
  EXPECT_THAT(*tokenizer->Encode("1234567890"), ElementsAre(7633, 19354, 29338, 15));
  EXPECT_THAT(*tokenizer->Encode("\u4f60\u597d\uff0c\u4e16\u754c"),
              ElementsAre(177519, 979, 28428));
  EXPECT_THAT(*tokenizer->Encode("\U0001F600\U0001F44D\U0001F3FD"),
              ElementsAre(84083, 82514, 52622, 121));
  EXPECT_THAT(*tokenizer->Encode("foo/bar//\n\nbaz"), ElementsAre(16660, 106617, 55245, 91457));
  EXPECT_THAT(*tokenizer->Encode("HTMLParser camelCaseWord"),
              ElementsAre(9512, 9231, 83330, 6187, 12929));
  EXPECT_THAT(*tokenizer->Encode("\\boxed{42}"), ElementsAre(59, 172278, 90, 4689, 92));
}

TEST(PublishedTokenizersTest, Llama3BeginsTextsWithATokenOfItsOwn) {
  const auto tokenizer = Load("LLAMA3_1");
  ASSERT_NE(tokenizer, nullptr);
  EXPECT_EQ(tokenizer->assets().token_bytes.size(), 128'256u);
  EXPECT_TRUE(tokenizer->assets().add_bos);
  EXPECT_EQ(tokenizer->assets().bos_token_id, 128'000);
  EXPECT_TRUE(tokenizer->assets().ignore_merges);
  EXPECT_THAT(*tokenizer->Encode("Hello world"), ElementsAre(128'000, 9906, 1917));
  EXPECT_THAT(tokenizer->assets().eos_token_ids, Contains(128'009));  // <|eot_id|>
  EXPECT_THAT(tokenizer->assets().eos_token_ids, Contains(128'001));  // <|end_of_text|>
  EXPECT_FALSE(tokenizer->assets().chat_template.empty());
}

TEST(PublishedTokenizersTest, QwenHasToolTokensThatAreText) {
  const auto tokenizer = Load("QWEN3");
  ASSERT_NE(tokenizer, nullptr);
  EXPECT_EQ(tokenizer->assets().token_bytes.size(), 151'669u);
  EXPECT_TRUE(tokenizer->assets().normalizes_to_nfc);
  EXPECT_EQ(tokenizer->assets().bos_token_id, -1);
  EXPECT_EQ(tokenizer->assets().eos_token_id, 151'645);
  EXPECT_EQ(tokenizer->assets().token_kinds[151'645], TokenKind::kControl);
  EXPECT_EQ(tokenizer->assets().token_bytes[151'668], "</think>");
  EXPECT_EQ(tokenizer->assets().token_kinds[151'668], TokenKind::kUserDefined);
  EXPECT_THAT(*tokenizer->Encode("</think>"), ElementsAre(151'668));
  EXPECT_FALSE(tokenizer->assets().chat_template.empty());
}

}  // namespace
}  // namespace phalanx
