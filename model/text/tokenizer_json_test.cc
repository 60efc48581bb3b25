#include "model/text/tokenizer_json.h"

#include <ostream>
#include <string>

#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;

constexpr int kVocab = 16;
constexpr char kFile[] = R"({"version": "1.0", "truncation": null, "padding": null,
  "added_tokens": [
    {"id": 6, "content": "<|end|>", "single_word": false, "lstrip": false, "rstrip": true,
     "normalized": false, "special": true},
    {"id": 8, "content": "<tool>"}],
  "normalizer": {"type": "NFC"},
  "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
    {"type": "Split", "pattern": {"Regex": "a+"}, "behavior": "Isolated", "invert": false},
    {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}]},
  "post_processor": {"type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "<|end|>", "type_id": 0}},
               {"Sequence": {"id": "A", "type_id": 0}}],
    "pair": [], "special_tokens": {"<|end|>": {"id": "<|end|>", "ids": [6], "tokens": []}}},
  "decoder": {"type": "ByteLevel"},
  "model": {"type": "BPE", "ignore_merges": true, "unk_token": null,
    "vocab": {"a": 0, "b": 1, "Ġ": 2, "ab": 3, "Ġab": 4},
    "merges": [["a", "b"], "Ġ ab"]}})";

absl::StatusOr<TokenizerAssets> Read(const std::string& text) {
  const absl::StatusOr<JsonValue> json = ParseJson(text, "tokenizer.json");
  if (!json.ok()) return json.status();
  return ReadTokenizerJson(*json, "tokenizer.json", kVocab);
}

TEST(TokenizerJsonTest, ReadsAllParts) {
  const auto assets = Read(kFile);
  ASSERT_TRUE(assets.ok()) << assets.status();
  EXPECT_THAT(assets->token_bytes,
              ElementsAre("a", "b", " ", "ab", " ab", "", "<|end|>", "", "<tool>"));
  EXPECT_EQ(assets->token_kinds[4], TokenKind::kNormal);
  EXPECT_EQ(assets->token_kinds[5], TokenKind::kUnused);
  EXPECT_EQ(assets->token_kinds[6], TokenKind::kControl);
  EXPECT_EQ(assets->token_kinds[8], TokenKind::kUserDefined);
  EXPECT_TRUE(assets->added_token_rules.at(6).rstrip);
  EXPECT_FALSE(assets->added_token_rules.at(6).normalized);
  EXPECT_TRUE(assets->added_token_rules.at(8).normalized) << "as AddedToken has it";
  EXPECT_THAT(assets->merges, ElementsAre(Pair(0, 1), Pair(2, 3)));
  ASSERT_EQ(assets->split_rules.size(), 1u);
  EXPECT_EQ(assets->split_rules[0].pattern, "a+");
  EXPECT_TRUE(assets->normalizes_to_nfc);
  EXPECT_TRUE(assets->ignore_merges);
  EXPECT_TRUE(assets->add_bos);
  EXPECT_EQ(assets->bos_token_id, 6);
}

// A change of the file, and what the error says.
struct Broken {
  std::string what;
  std::string from;
  std::string to;
  std::string named;
  absl::StatusCode code = absl::StatusCode::kDataLoss;
};

// For the names of failures.
void PrintTo(const Broken& broken, std::ostream* out) { *out << broken.what; }

class BrokenTokenizerJsonTest : public testing::TestWithParam<Broken> {};

TEST_P(BrokenTokenizerJsonTest, IsRefusedNamingFileAndKey) {
  const Broken& broken = GetParam();
  const std::string text = absl::StrReplaceAll(kFile, {{broken.from, broken.to}});
  ASSERT_NE(text, kFile);
  const absl::Status status = Read(text).status();
  EXPECT_EQ(status.code(), broken.code) << status;
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("tokenizer.json: "), HasSubstr(broken.named)));
}

constexpr absl::StatusCode kUnimplemented = absl::StatusCode::kUnimplemented;

INSTANTIATE_TEST_SUITE_P(
    Model, BrokenTokenizerJsonTest,
    testing::Values(
        Broken{"Missing", R"("model")", R"("mode")", "model: missing"},
        Broken{"OtherType", "BPE", "Unigram", "model.type", kUnimplemented},
        Broken{"UnknownKey", R"("unk_token")", R"("magic": 1, "unk_token")", "model.magic",
               kUnimplemented},
        Broken{"UnknownTokenNeeded", R"("unk_token": null)", R"("unk_token": "a")",
               "model.unk_token", kUnimplemented},
        Broken{"Dropout", R"("ignore_merges")", R"("dropout": 0.1, "ignore_merges")",
               "model.dropout", kUnimplemented},
        Broken{"ByteFallback", R"("ignore_merges")", R"("byte_fallback": true, "ignore_merges")",
               "model.byte_fallback", kUnimplemented},
        Broken{"WordSuffix", R"("ignore_merges")", R"("end_of_word_suffix": "w", "ignore_merges")",
               "model.end_of_word_suffix", kUnimplemented},
        Broken{"IdBeyondTheTable", R"("Ġab": 4)", R"("Ġab": 16)", "model.vocab"},
        Broken{"HugeId", R"("Ġab": 4)", R"("Ġab": 9223372036854775807)", "model.vocab"},
        Broken{"NegativeId", R"("Ġab": 4)", R"("Ġab": -1)", "model.vocab"},
        Broken{"IdTwice", R"("Ġab": 4)", R"("Ġab": 3)", "model.vocab: id 3 is there twice"},
        Broken{"EmptyToken", R"("b": 1)", R"("": 1)", "model.vocab"},
        Broken{"OutsideTheAlphabet", R"("Ġab": 4)", R"("Ġab": 4, "你": 5)", "model.vocab"},
        Broken{"MergeOfThree", R"("Ġ ab")", R"("a b b")", "model.merges: [1]"},
        Broken{"MergeOfOne", R"("Ġ ab")", R"(["ab"])", "model.merges: [1]"},
        Broken{"MergeOfUnknownTokens", R"("Ġ ab")", R"("a c")", "model.merges: [1]"},
        Broken{"MergeThatMakesNoToken", R"("Ġ ab")", R"("b a")", "model.merges: [1]"},
        Broken{"MergeThatMakesAnAddedToken", R"({"id": 8, "content": "<tool>"})",
               R"({"id": 3, "content": "ab"})", "model.merges: [0]"}),
    [](const auto& info) { return info.param.what; });

INSTANTIATE_TEST_SUITE_P(
    AddedTokens, BrokenTokenizerJsonTest,
    testing::Values(
        Broken{"NoContent", R"("content": "<tool>")", R"("special": true)", "added_tokens[1]"},
        Broken{"EmptyContent", "<tool>", "", "added_tokens[1]"},
        Broken{"IdBeyondTheTable", R"("id": 8)", R"("id": 16)", "added_tokens[1]"},
        Broken{"IdOfAnother", R"("id": 8)", R"("id": 4)", "added_tokens[1]"},
        Broken{"OtherIdThanInTheVocabulary", "<tool>", "ab", "added_tokens[1]"},
        Broken{"Twice", "<tool>", "<|end|>", "added_tokens[1]"},
        Broken{"FlagThatIsNoBool", R"("rstrip": true)", R"("rstrip": 1)", "added_tokens[0].rstrip"},
        Broken{"UnknownKey", R"("rstrip": true)", R"("trim": true)", "added_tokens[0].trim",
               kUnimplemented}),
    [](const auto& info) { return info.param.what; });

INSTANTIATE_TEST_SUITE_P(
    Steps, BrokenTokenizerJsonTest,
    testing::Values(
        Broken{"OtherNormalizer", "NFC", "NFKC", "normalizer.type", kUnimplemented},
        Broken{"OtherPreTokenizer", R"("Split")", R"("Metaspace")",
               "pre_tokenizer.pretokenizers[0].type", kUnimplemented},
        Broken{"OtherBehavior", "Isolated", "MergedWithNext", "pretokenizers[0].behavior",
               kUnimplemented},
        Broken{"NoPattern", R"("Regex")", R"("Regular")", "pretokenizers[0].pattern"},
        Broken{"PrefixSpace", R"("add_prefix_space": false)", R"("add_prefix_space": true)",
               "pretokenizers[1].add_prefix_space", kUnimplemented},
        Broken{"OtherDecoder", R"("decoder": {"type": "ByteLevel"})",
               R"("decoder": {"type": "Fuse"})", "decoder.type", kUnimplemented},
        Broken{"KeyOfTheDecoder", R"("decoder": {)", R"("decoder": {"x": 1, )", "decoder.x",
               kUnimplemented},
        Broken{"KeyOfTheTemplate", R"("pair": [])", R"("pair": [], "more": [])",
               "post_processor.more", kUnimplemented},
        Broken{"FirstTokenThatIsNotThere", R"("ids": [6])", R"("ids": [7])", "post_processor"},
        Broken{"FirstTokenOfTwoIds", R"("ids": [6])", R"("ids": [6, 6])",
               "post_processor.special_tokens"},
        Broken{"UnknownKeyOfTheFile", R"("version")", R"("flavor": 1, "version")", "flavor",
               kUnimplemented}),
    [](const auto& info) { return info.param.what; });

TEST(TokenizerJsonTest, HolesAreBoundedByTheNumberOfTokens) {
  const auto json =
      ParseJson(absl::StrReplaceAll(kFile, {{R"("id": 8)", R"("id": 2000000000)"}}), "huge");
  ASSERT_TRUE(json.ok()) << json.status();
  const absl::Status status = ReadTokenizerJson(*json, "huge", 2'147'483'647).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
}

}  // namespace
}  // namespace phalanx
