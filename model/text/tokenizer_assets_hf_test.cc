#include "model/text/tokenizer_assets_hf.h"

#include <map>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/files/gguf.h"
#include "model/testing/hf_folder.h"
#include "model/testing/tiny_model.h"
#include "model/testing/tiny_tokenizer.h"
#include "model/text/tokenizer_assets.h"
#include "model/text/tokenizer_assets_gguf.h"

namespace phalanx {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Pair;

using Files = std::map<std::string, std::string>;

absl::StatusOr<TokenizerAssets> Read(const Files& files) {
  return ReadTokenizerAssets(WriteTempFolder("tokenizer", files), kTinyVocab);
}

// The tiny tokenizer with this tokenizer_config.json.
absl::StatusOr<TokenizerAssets> ReadWithConfig(const std::string& config) {
  Files files = TinyTokenizerFiles();
  files["tokenizer_config.json"] = config;
  return Read(files);
}

TEST(TokenizerAssetsHfTest, AFolderSaysWhatTheGgufFileOfTheSameModelSays) {
  const auto folder = Read(TinyTokenizerFiles());
  ASSERT_TRUE(folder.ok()) << folder.status();
  const auto gguf = GgufFile::Open(WriteTinyModel("same.gguf"));
  ASSERT_TRUE(gguf.ok()) << gguf.status();
  const auto other = ReadTokenizerAssets(**gguf);
  ASSERT_TRUE(other.ok()) << other.status();
  EXPECT_EQ(folder->token_bytes, other->token_bytes);
  EXPECT_EQ(folder->token_kinds, other->token_kinds);
  EXPECT_EQ(folder->merges, other->merges);
  EXPECT_EQ(folder->eos_token_ids, other->eos_token_ids);
  EXPECT_EQ(folder->eos_token_id, other->eos_token_id);
  EXPECT_EQ(folder->bos_token_id, other->bos_token_id);
  EXPECT_EQ(folder->add_bos, other->add_bos);
  EXPECT_EQ(folder->chat_template, other->chat_template);
}

TEST(TokenizerAssetsHfTest, TokensWithARoleAreControlTokens) {
  const auto assets = ReadWithConfig(R"({"eos_token": {"content": "!"}, "pad_token": "#",
      "additional_special_tokens": ["$"], "extra_special_tokens": {"image_token": "%"}})");
  ASSERT_TRUE(assets.ok()) << assets.status();
  EXPECT_EQ(assets->eos_token_id, kTinyFirstByte);
  EXPECT_THAT(assets->eos_token_ids, ElementsAre(0, 2, kTinyFirstByte));
  EXPECT_EQ(assets->bos_token_id, -1);
  for (const char byte : {'!', '#', '$', '%'}) {
    EXPECT_EQ(assets->token_kinds[kTinyFirstByte + byte - '!'], TokenKind::kControl) << byte;
  }
  EXPECT_EQ(assets->token_kinds[kTinyFirstByte + 1], TokenKind::kNormal);
}

using Tokens = std::map<std::string, std::string>;

// The expectations are special_tokens_map of transformers 5.23 for the same files.
TEST(TokenizerAssetsHfTest, TemplatesKnowTokensByTheirNames) {
  const auto tokens = [](const std::string& config) {
    const auto assets = ReadWithConfig(config);
    EXPECT_TRUE(assets.ok()) << assets.status();
    return assets.ok() ? assets->template_tokens : Tokens();
  };
  EXPECT_EQ(tokens(R"({"bos_token": "!", "eos_token": {"content": "#"}, "pad_token": "$",
                       "unk_token": "%", "image_token": "&", "add_bos_token": true,
                       "sep_token": null, "additional_special_tokens": ["'"]})"),
            (Tokens{{"bos_token", "!"},
                    {"eos_token", "#"},
                    {"pad_token", "$"},
                    {"unk_token", "%"},
                    {"image_token", "&"}}));
  EXPECT_EQ(tokens(R"({"extra_special_tokens": {"image_token": "!", "video": "#"}})"),
            (Tokens{{"image_token", "!"}, {"video", "#"}}));
  EXPECT_EQ(tokens(R"({"model_specific_special_tokens": {"image_token": "!"},
                       "cls_token": {"__type": "AddedToken", "content": "#"}})"),
            (Tokens{{"image_token", "!"}, {"cls_token", "#"}}));
  EXPECT_EQ(tokens(R"({"image_token": "no token"})"), (Tokens{{"image_token", "no token"}}));
}

TEST(TokenizerAssetsHfTest, TheOlderMapOfTokensCountsWhereTheNewerIsNot) {
  Files files = {{"tokenizer.json", TinyTokenizerFiles()["tokenizer.json"]},
                 {"special_tokens_map.json", R"({"bos_token": "!", "pad_token": {"content": "#"},
                  "extra_special_tokens": {"v": "$"}, "foo": "%", "img_token": "&"})"}};
  const Tokens from_map = {{"bos_token", "!"}, {"pad_token", "#"}, {"v", "$"}, {"img_token", "&"}};
  auto assets = Read(files);
  ASSERT_TRUE(assets.ok()) << assets.status();
  EXPECT_EQ(assets->template_tokens, from_map);
  EXPECT_EQ(assets->bos_token_id, kTinyFirstByte);
  files["tokenizer_config.json"] = R"({"bos_token": "'", "unk_token": "("})";
  Tokens both = from_map;
  both["unk_token"] = "(";
  EXPECT_EQ(Read(files)->template_tokens, both);
  files["tokenizer_config.json"] = R"({"bos_token": "'", "added_tokens_decoder": {}})";
  EXPECT_EQ(Read(files)->template_tokens, (Tokens{{"bos_token", "'"}}));
  files["tokenizer_config.json"] = "{}";
  files["special_tokens_map.json"] = R"({"pad_token": "no token"})";
  EXPECT_THAT(std::string(Read(files).status().message()), HasSubstr("special_tokens_map.json"));
}

TEST(TokenizerAssetsHfTest, FlagsOfTheConfigurationReplaceThoseOfTheTokenizer) {
  const auto assets = ReadWithConfig(R"({"added_tokens_decoder": {
      "1": {"content": "<|im_start|>", "lstrip": true, "special": false}}})");
  ASSERT_TRUE(assets.ok()) << assets.status();
  EXPECT_EQ(assets->token_kinds[1], TokenKind::kUserDefined);
  EXPECT_TRUE(assets->added_token_rules.at(1).lstrip);
  EXPECT_TRUE(assets->added_token_rules.at(1).normalized);
  EXPECT_EQ(assets->token_kinds[2], TokenKind::kControl);
}

TEST(TokenizerAssetsHfTest, WithoutAConfigurationThereAreNoRoles) {
  const auto assets = Read({{"tokenizer.json", TinyTokenizerFiles()["tokenizer.json"]}});
  ASSERT_TRUE(assets.ok()) << assets.status();
  EXPECT_EQ(assets->eos_token_id, -1);
  EXPECT_THAT(assets->eos_token_ids, ElementsAre(0, 2)) << "by their spelling";
  EXPECT_EQ(assets->chat_template, "");
}

TEST(TokenizerAssetsHfTest, AFolderWithoutATokenizerIsNotFound) {
  const absl::Status status = Read({{"tokenizer_config.json", "{}"}}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("tokenizer.json"));
}

constexpr char kTwoTemplates[] =
    R"({"chat_template": [{"name": "default", "template": "D"}, {"name": "rag", "template": "R"}]})";

TEST(TokenizerAssetsHfTest, TemplatesMayBeAListOfTheConfiguration) {
  const auto assets = ReadWithConfig(kTwoTemplates);
  ASSERT_TRUE(assets.ok()) << assets.status();
  EXPECT_EQ(assets->chat_template, "D");
  EXPECT_THAT(assets->named_chat_templates, ElementsAre(Pair("rag", "R")));
}

TEST(TokenizerAssetsHfTest, FilesReplaceAllTemplatesOfTheConfiguration) {
  Files files = TinyTokenizerFiles();
  files["tokenizer_config.json"] = kTwoTemplates;
  files["chat_template.jinja"] = "one\r\ntwo";
  const auto assets = Read(files);
  ASSERT_TRUE(assets.ok()) << assets.status();
  EXPECT_EQ(assets->chat_template, "one\ntwo");
  EXPECT_THAT(assets->named_chat_templates, IsEmpty());
  files["chat_template.jinja"] = "";
  const absl::Status status = Read(files).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << "there, and not a template";
  EXPECT_THAT(std::string(status.message()), HasSubstr("chat_template.jinja"));
}

TEST(TokenizerAssetsHfTest, FilesOfOneFolderAreNamedTemplates) {
  Files files = TinyTokenizerFiles();
  files["additional_chat_templates/rag.jinja"] = "R";
  files["additional_chat_templates/README.md"] = "no template";
  auto assets = Read(files);
  ASSERT_TRUE(assets.ok()) << assets.status();
  EXPECT_EQ(assets->chat_template, "");
  EXPECT_THAT(assets->named_chat_templates, ElementsAre(Pair("rag", "R")));
  files["chat_template.jinja"] = "C";
  files["additional_chat_templates/default.jinja"] = "D";
  assets = Read(files);
  ASSERT_TRUE(assets.ok()) << assets.status();
  EXPECT_EQ(assets->chat_template, "D");
  EXPECT_THAT(assets->named_chat_templates, ElementsAre(Pair("rag", "R")));
}

// A change of the tokenizer_config.json of the tiny folder, and what the error says.
struct BadConfig {
  std::string what;
  std::string text;
  std::string named;
  absl::StatusCode code = absl::StatusCode::kDataLoss;
};

class BadTokenizerConfigTest : public testing::TestWithParam<BadConfig> {};

TEST_P(BadTokenizerConfigTest, IsRefusedNamingFileAndKey) {
  const absl::Status status = ReadWithConfig(GetParam().text).status();
  EXPECT_EQ(status.code(), GetParam().code) << status;
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("tokenizer_config.json: "), HasSubstr(GetParam().named)));
}

INSTANTIATE_TEST_SUITE_P(
    All, BadTokenizerConfigTest,
    testing::Values(
        BadConfig{"NoObject", "[]", "not an object"},
        BadConfig{"UnknownToken", R"({"eos_token": "<none>"})", "eos_token: \"<none>\""},
        BadConfig{"SpaceIsSpelledOtherwise", R"({"eos_token": " the"})", "eos_token"},
        BadConfig{"RoleThatIsNoToken", R"({"pad_token": 3})", "pad_token: 3"},
        BadConfig{"IdThatIsNone", R"({"added_tokens_decoder": {"x": {"content": "!"}}})",
                  "added_tokens_decoder[\"x\"]"},
        BadConfig{"IdBeyondTheTable", R"({"added_tokens_decoder": {"272": {"content": "!"}}})",
                  "added_tokens_decoder[\"272\"]"},
        BadConfig{"OtherContent", R"({"added_tokens_decoder": {"1": {"content": "<x>"}}})",
                  "added_tokens_decoder[\"1\"]"},
        BadConfig{"UnknownFlag",
                  R"({"added_tokens_decoder": {"3": {"content": "!", "magic": true}}})",
                  "added_tokens_decoder[\"3\"].magic", absl::StatusCode::kUnimplemented},
        BadConfig{"TemplateWithoutAName", R"({"chat_template": [{"template": "T"}]})",
                  "chat_template"},
        BadConfig{"SplitsSpecialTokens", R"({"split_special_tokens": true})",
                  "split_special_tokens", absl::StatusCode::kUnimplemented}),
    [](const auto& info) { return info.param.what; });

}  // namespace
}  // namespace phalanx
