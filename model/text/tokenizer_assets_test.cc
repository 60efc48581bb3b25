#include "model/text/tokenizer_assets.h"

#include <functional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/testing/tiny_model.h"
#include "model/text/tokenizer_assets_gguf.h"

namespace phalanx {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;

absl::StatusOr<TokenizerAssets> Read(const std::string& path) {
  const auto file = GgufFile::Open(path);
  if (!file.ok()) return file.status();
  return ReadTokenizerAssets(**file);
}

TEST(TokenizerAssetsTest, ReadsTheTinyModel) {
  const auto assets = Read(WriteTinyModel("tiny.gguf"));
  ASSERT_TRUE(assets.ok()) << assets.status();
  ASSERT_EQ(assets->split_rules.size(), 2u);
  EXPECT_EQ(assets->split_rules[0].pattern, "\\p{N}");
  ASSERT_EQ(assets->token_bytes.size(), static_cast<size_t>(kTinyVocab));
  ASSERT_EQ(assets->token_kinds.size(), static_cast<size_t>(kTinyVocab));
  EXPECT_EQ(assets->token_bytes[1], "<|im_start|>");
  EXPECT_EQ(assets->token_kinds[1], TokenKind::kControl);
  EXPECT_EQ(assets->token_bytes[kTinyFirstByte], "!");
  EXPECT_EQ(assets->token_kinds[kTinyFirstByte], TokenKind::kNormal);
  EXPECT_THAT(assets->eos_token_ids, ElementsAre(0, 2));
  EXPECT_EQ(assets->eos_token_id, 2);
  EXPECT_EQ(assets->bos_token_id, 1);
  EXPECT_FALSE(assets->add_bos);
  EXPECT_THAT(assets->chat_template, HasSubstr("<|im_start|>assistant\n"));
}

TEST(TokenizerAssetsTest, EveryByteComesOutOfTheAlphabetOnce) {
  const auto assets = Read(WriteTinyModel("bytes.gguf"));
  ASSERT_TRUE(assets.ok()) << assets.status();
  std::vector<int> seen(256);
  for (int i = 0; i < 256; ++i) {
    const std::string& bytes = assets->token_bytes[kTinyFirstByte + i];
    ASSERT_EQ(bytes.size(), 1u) << i;
    ++seen[static_cast<unsigned char>(bytes[0])];
  }
  EXPECT_THAT(seen, testing::Each(1));
}

TEST(TokenizerAssetsTest, MergesArePairsOfIdsOfTokensThatTheyMake) {
  const auto assets = Read(WriteTinyModel("merges.gguf"));
  ASSERT_TRUE(assets.ok()) << assets.status();
  ASSERT_EQ(assets->merges.size(), 13u);
  const auto bytes = [&](int32_t id) { return assets->token_bytes[id]; };
  EXPECT_EQ(bytes(assets->merges[0].first) + bytes(assets->merges[0].second), "in");
  EXPECT_EQ(bytes(assets->merges[3].first), " t");
  EXPECT_EQ(bytes(assets->merges[3].second), "he");
}

// Seven tokens, two merges.
struct Parts {
  std::string model = "gpt2";
  std::string pre = "smollm";
  std::vector<std::string> tokens = {"<|end|>", "a", "b", "Ġ", "ab", "Ġab", "pad"};
  std::vector<int32_t> types = {3, 1, 1, 1, 1, 1, 5};
  std::vector<std::string> merges = {"a b", "Ġ ab"};
  std::function<void(GgufWriter&)> more = [](GgufWriter&) {};
};

std::string Write(const Parts& parts) {
  GgufWriter writer;
  writer.AddString("tokenizer.ggml.model", parts.model);
  writer.AddString("tokenizer.ggml.pre", parts.pre);
  writer.AddStrings("tokenizer.ggml.tokens", parts.tokens);
  writer.AddI32s("tokenizer.ggml.token_type", parts.types);
  writer.AddStrings("tokenizer.ggml.merges", parts.merges);
  parts.more(writer);
  return writer.WriteToTemp("parts.gguf");
}

TEST(TokenizerAssetsTest, FileWithoutOptionalKeysHasNoneOfTheirValues) {
  const auto assets = Read(Write({}));
  ASSERT_TRUE(assets.ok()) << assets.status();
  EXPECT_THAT(assets->token_bytes, ElementsAre("<|end|>", "a", "b", " ", "ab", " ab", "pad"));
  EXPECT_THAT(assets->merges, ElementsAre(Pair(1, 2), Pair(3, 4)));
  EXPECT_THAT(assets->eos_token_ids, ElementsAre(0)) << "by its spelling";
  EXPECT_EQ(assets->eos_token_id, -1);
  EXPECT_EQ(assets->bos_token_id, -1);
  EXPECT_EQ(assets->chat_template, "");
  EXPECT_EQ(assets->token_kinds[6], TokenKind::kUnused);
}

TEST(TokenizerAssetsTest, EosIsTheUnionOfKeysAndSpellings) {
  Parts parts;
  parts.more = [](GgufWriter& w) {
    w.AddU32("tokenizer.ggml.eos_token_id", 4);
    w.AddU32("tokenizer.ggml.eot_token_id", 2);
    w.AddU32("tokenizer.ggml.eom_token_id", 5);
  };
  const auto assets = Read(Write(parts));
  ASSERT_TRUE(assets.ok()) << assets.status();
  EXPECT_THAT(assets->eos_token_ids, ElementsAre(0, 2, 4, 5));
  EXPECT_EQ(assets->eos_token_id, 4);
}

TEST(TokenizerAssetsTest, TemplatesKnowTokensByTheirNames) {
  Parts parts;
  parts.more = [](GgufWriter& w) {
    w.AddU32("tokenizer.ggml.eos_token_id", 4);
    w.AddU32("tokenizer.ggml.unknown_token_id", 2);
    w.AddU32("tokenizer.ggml.seperator_token_id", 3);
    w.AddU32("tokenizer.ggml.padding_token_id", 0xffffffff);
    w.AddU32("tokenizer.ggml.mask_token_id", 0);
  };
  const auto assets = Read(Write(parts));
  ASSERT_TRUE(assets.ok()) << assets.status();
  EXPECT_THAT(assets->template_tokens,
              ElementsAre(Pair("eos_token", "ab"), Pair("mask_token", "<|end|>"),
                          Pair("sep_token", " "), Pair("unk_token", "b")));
}

TEST(TokenizerAssetsTest, KeysThatChangeNothingAreAccepted) {
  Parts parts;
  parts.more = [](GgufWriter& w) {
    for (const char* role : {"unknown", "padding", "seperator", "fim_pre", "fim_pad", "middle"}) {
      w.AddU32(absl::StrCat("tokenizer.ggml.", role, "_token_id"), 6);
    }
    for (const char* off : {"add_eos_token", "add_sep_token", "add_space_prefix",
                            "remove_extra_whitespaces", "normalizer.lowercase"}) {
      w.AddBool(absl::StrCat("tokenizer.ggml.", off), false);
    }
    w.AddI32s("tokenizer.ggml.suppress_tokens", {});
    w.AddString("tokenizer.huggingface.json", "{}");
  };
  const auto assets = Read(Write(parts));
  ASSERT_TRUE(assets.ok()) << assets.status();
  EXPECT_THAT(assets->eos_token_ids, ElementsAre(0));
}

struct BadParts {
  std::string what;
  std::function<void(Parts&)> spoil;
  std::string named;
  absl::StatusCode code = absl::StatusCode::kDataLoss;
};

class BadTokenizerTest : public testing::TestWithParam<BadParts> {};

TEST_P(BadTokenizerTest, IsRefusedNamingFileAndKey) {
  Parts parts;
  GetParam().spoil(parts);
  const absl::Status status = Read(Write(parts)).status();
  EXPECT_EQ(status.code(), GetParam().code) << status;
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("parts.gguf"), HasSubstr(GetParam().named)));
}

std::function<void(Parts&)> More(std::function<void(GgufWriter&)> more) {
  return [more](Parts& parts) { parts.more = more; };
}

INSTANTIATE_TEST_SUITE_P(
    All, BadTokenizerTest,
    testing::Values(
        BadParts{"SentencePiece", [](Parts& p) { p.model = "llama"; },
                 "tokenizer.ggml.model llama is not supported; supported: gpt2",
                 absl::StatusCode::kUnimplemented},
        BadParts{"OtherPreTokenizer", [](Parts& p) { p.pre = "bloom"; },
                 "tokenizer.ggml.pre bloom is not supported; supported: gpt-2, phi-2, smollm",
                 absl::StatusCode::kUnimplemented},
        BadParts{"NoTokens",
                 [](Parts& p) {
                   p.tokens.clear();
                   p.types.clear();
                 },
                 "tokenizer.ggml.tokens"},
        BadParts{"FewerTypes", [](Parts& p) { p.types.pop_back(); }, "6 types of 7 tokens"},
        BadParts{"UnknownType", [](Parts& p) { p.types[2] = 7; }, "token_type[2]"},
        BadParts{"ByteType", [](Parts& p) { p.types[2] = 6; }, "token_type[2]",
                 absl::StatusCode::kUnimplemented},
        BadParts{"TokenTwice", [](Parts& p) { p.tokens[2] = "a"; }, "tokens[2]"},
        BadParts{"EmptyToken", [](Parts& p) { p.tokens[2] = ""; }, "tokens[2]"},
        BadParts{"SpaceInAToken", [](Parts& p) { p.tokens[2] = "b c"; }, "tokens[2]"},
        BadParts{"CharacterOutsideTheAlphabet", [](Parts& p) { p.tokens[2] = "\u4f60"; },
                 "tokens[2]"},
        BadParts{"HalfACharacter", [](Parts& p) { p.tokens[2] = "\xc4"; }, "tokens[2]"},
        BadParts{"MergeWithoutSpace", [](Parts& p) { p.merges[1] = "ab"; }, "merges[1]"},
        BadParts{"MergeOfUnknownTokens", [](Parts& p) { p.merges[1] = "a c"; }, "merges[1]"},
        BadParts{"MergeThatMakesNoToken", [](Parts& p) { p.merges[1] = "b a"; }, "merges[1]"},
        BadParts{"MergeOfAControlToken", [](Parts& p) { p.merges[1] = "<|end|> a"; }, "merges[1]"},
        BadParts{"EosOutOfRange",
                 More([](GgufWriter& w) { w.AddU32("tokenizer.ggml.eos_token_id", 7); }),
                 "eos_token_id"},
        BadParts{"NegativeBos",
                 More([](GgufWriter& w) { w.AddI32("tokenizer.ggml.bos_token_id", -1); }),
                 "bos_token_id"},
        BadParts{"AddBosWithoutBos",
                 More([](GgufWriter& w) { w.AddBool("tokenizer.ggml.add_bos_token", true); }),
                 "add_bos_token"},
        BadParts{"AddEos",
                 More([](GgufWriter& w) { w.AddBool("tokenizer.ggml.add_eos_token", true); }),
                 "add_eos_token", absl::StatusCode::kUnimplemented},
        BadParts{"SpacePrefix",
                 More([](GgufWriter& w) { w.AddBool("tokenizer.ggml.add_space_prefix", true); }),
                 "add_space_prefix", absl::StatusCode::kUnimplemented},
        BadParts{"SeparatorAtTheEnd",
                 More([](GgufWriter& w) { w.AddBool("tokenizer.ggml.add_sep_token", true); }),
                 "add_sep_token", absl::StatusCode::kUnimplemented},
        BadParts{"Lowercase", More([](GgufWriter& w) {
                   w.AddBool("tokenizer.ggml.normalizer.lowercase", true);
                 }),
                 "normalizer.lowercase", absl::StatusCode::kUnimplemented},
        BadParts{"SuppressedTokens", More([](GgufWriter& w) {
                   w.AddI32s("tokenizer.ggml.suppress_tokens", {1, 2});
                 }),
                 "suppress_tokens of 2 tokens", absl::StatusCode::kUnimplemented},
        BadParts{"UnheardOfKey",
                 More([](GgufWriter& w) { w.AddU32("tokenizer.ggml.eog_token_id", 1); }),
                 "tokenizer.ggml.eog_token_id is not supported", absl::StatusCode::kUnimplemented},
        BadParts{"EomOutOfRange",
                 More([](GgufWriter& w) { w.AddU32("tokenizer.ggml.eom_token_id", 7); }),
                 "eom_token_id"},
        BadParts{"TemplateThatIsNoText",
                 More([](GgufWriter& w) { w.AddU32("tokenizer.chat_template", 1); }),
                 "chat_template"}),
    [](const auto& info) { return info.param.what; });

TEST(TokenizerAssetsTest, MissingKeyIsNamed) {
  GgufWriter writer;
  writer.AddString("tokenizer.ggml.model", "gpt2");
  const absl::Status status = Read(writer.WriteToTemp("missing.gguf")).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), HasSubstr("tokenizer.ggml.pre: missing"));
}

}  // namespace
}  // namespace phalanx
