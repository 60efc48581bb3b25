#include "coordinator/text/tokenizer/tokenizer.h"

#include <atomic>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "coordinator/text/testing/tiny_vocabulary.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class TokenizerTest : public testing::Test {
 protected:
  TokenizerTest() {
    auto tokenizer = Tokenizer::Create(TinyVocabulary());
    EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
    tokenizer_ = *std::move(tokenizer);
  }

  std::vector<int32_t> Encode(absl::string_view text) const { return *tokenizer_->Encode(text); }
  std::vector<int32_t> EncodeRendered(absl::string_view text,
                                      absl::Span<const TextSpan> caller_spans) const {
    return *tokenizer_->EncodeRendered(text, caller_spans);
  }

  std::unique_ptr<Tokenizer> tokenizer_;
};

TEST_F(TokenizerTest, MergesTheLowestRankFirst) {
  EXPECT_THAT(Encode(""), IsEmpty());
  EXPECT_THAT(Encode("abc"), ElementsAre(kAbc));
  EXPECT_THAT(Encode("bc"), ElementsAre(kBc));
  EXPECT_THAT(Encode("aab"), ElementsAre('a', kAb));
}

TEST_F(TokenizerTest, MergesTheLeftmostOfEqualRanks) {
  EXPECT_THAT(Encode("aaa"), ElementsAre(kAa, 'a'));
  EXPECT_THAT(Encode("aaaaa"), ElementsAre(kAaaa, 'a'));
}

TEST_F(TokenizerTest, MergesNothingAcrossPieces) {
  EXPECT_THAT(Encode("a1b"), ElementsAre('a', '1', 'b'));
}

TEST_F(TokenizerTest, ACallersTextHasNoControlTokens) {
  EXPECT_THAT(Encode("<|a|>"), ElementsAre('<', '|', 'a', '|', '>'));
}

TEST_F(TokenizerTest, ATemplatesTextHas) {
  EXPECT_THAT(EncodeRendered("x<|a|>x", {}), ElementsAre('x', kControl, 'x'));
  EXPECT_THAT(EncodeRendered("<|a|>>>", {}), ElementsAre(kLongControl, '>'));
}

TEST_F(TokenizerTest, ControlTokensMayNotTouchWhatCallersSaid) {
  // The first <|a|> is in the caller's part, the second is the template's own.
  const TextSpan span{0, 5};
  EXPECT_THAT(EncodeRendered("<|a|><|a|>", {&span, 1}),
              ElementsAre('<', '|', 'a', '|', '>', kControl));
  // The caller completes what the template began, and the other way round.
  const TextSpan end{4, 6};
  EXPECT_THAT(EncodeRendered("<|a|>b", {&end, 1}), ElementsAre('<', '|', 'a', '|', '>', 'b'));
  const TextSpan begin{0, 1};
  EXPECT_THAT(EncodeRendered("<|a|>", {&begin, 1}), ElementsAre('<', '|', 'a', '|', '>'));
}

TEST_F(TokenizerTest, UserDefinedTokensAreFoundEverywhere) {
  EXPECT_THAT(Encode("ab[tool]ab"), ElementsAre(kAb, kUserToken, kAb));
}

TEST_F(TokenizerTest, AnyTextComesBack) {
  std::mt19937 random(11);
  for (int round = 0; round < 2000; ++round) {
    std::string text(random() % 60, '\0');
    for (char& byte : text) byte = static_cast<char>("abc <|>[tol] 19\n"[random() % 16]);
    std::string bytes;
    for (const int32_t id : Encode(text)) bytes += tokenizer_->assets().token_bytes[id];
    ASSERT_EQ(bytes, text);
  }
}

TEST_F(TokenizerTest, LongRunsOfOneLetterAreNoTrouble) {
  // Quadratic work would be 10^12 steps.
  const std::vector<int32_t> token_ids = Encode(std::string(1 << 20, 'a'));
  EXPECT_EQ(token_ids, std::vector<int32_t>((1 << 20) / 4, kAaaa));
}

TEST_F(TokenizerTest, GivesUpOnceItIsCancelled) {
  std::atomic<bool> cancelled = true;
  EXPECT_EQ(tokenizer_->Encode("a", ControlSpelling::kToken, &cancelled).status().code(),
            absl::StatusCode::kCancelled);
  EXPECT_EQ(tokenizer_->EncodeRendered("a", {}, &cancelled).status().code(),
            absl::StatusCode::kCancelled);
  cancelled = false;
  EXPECT_THAT(*tokenizer_->EncodeRendered("abc", {}, &cancelled), ElementsAre(kAbc));
}

TEST_F(TokenizerTest, GivesUpInTheMiddleOfALongText) {
  std::string text;
  for (int i = 0; i < 1 << 22; ++i) text += "a1";
  std::atomic<bool> cancelled = false;
  std::thread canceller([&cancelled] { cancelled = true; });
  EXPECT_EQ(tokenizer_->Encode(text, ControlSpelling::kToken, &cancelled).status().code(),
            absl::StatusCode::kCancelled);
  canceller.join();
}

// "0-2 2-3".
std::string SpansOf(const Tokenizer& tokenizer, absl::string_view text) {
  std::vector<TextSpan> spans;
  const auto ids = tokenizer.Encode(text, ControlSpelling::kToken, nullptr, &spans);
  EXPECT_EQ(ids->size(), spans.size());
  return absl::StrJoin(spans, " ", [](std::string* out, const TextSpan& span) {
    absl::StrAppend(out, span.begin, "-", span.end);
  });
}

TEST_F(TokenizerTest, TellsWhereTokensAre) {
  EXPECT_EQ(SpansOf(*tokenizer_, ""), "");
  EXPECT_EQ(SpansOf(*tokenizer_, "abc1ab"), "0-3 3-4 4-6");
  EXPECT_EQ(SpansOf(*tokenizer_, "ab<|a|>[tool]b"), "0-2 2-7 7-13 13-14");
  EXPECT_EQ(SpansOf(*tokenizer_, "é"), "0-1 1-2");
}

TEST(TokenizerSpansTest, ABosTokenAndLostBytesHaveNone) {
  TokenizerAssets assets = TinyVocabulary();
  assets.bos_token_id = kControl;
  assets.add_bos = true;
  assets.token_kinds['x'] = TokenKind::kUnused;
  const auto tokenizer = Tokenizer::Create(assets);
  ASSERT_TRUE(tokenizer.ok());
  EXPECT_EQ(SpansOf(**tokenizer, "xaxbx"), "0-0 1-4");
  EXPECT_EQ(SpansOf(**tokenizer, "1x2"), "0-0 0-1 2-3");
}

TEST(TokenizerSpansTest, NormalizedCharactersAreWhole) {
  TokenizerAssets assets = TinyVocabulary();
  assets.normalizes_to_nfc = true;
  const auto tokenizer = Tokenizer::Create(assets);
  ASSERT_TRUE(tokenizer.ok());
  // The form is "ab", two bytes of "é", "ab"; the text has three bytes in their place.
  EXPECT_EQ(SpansOf(**tokenizer, "<|a|>1ab1e\u03011ab"), "0-5 5-6 6-8 8-9 9-12 9-12 12-13 13-15");
}

TEST(TokenizerCreateTest, RefusesAMergeThatMakesNoToken) {
  TokenizerAssets assets = TinyVocabulary();
  assets.merges.push_back({'x', 'y'});
  EXPECT_EQ(Tokenizer::Create(assets).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(TokenizerCreateTest, LeavesOutBytesWithoutAToken) {
  TokenizerAssets assets = TinyVocabulary();
  assets.token_kinds['x'] = TokenKind::kUnused;
  const auto tokenizer = Tokenizer::Create(assets);
  ASSERT_TRUE(tokenizer.ok());
  EXPECT_THAT(*(*tokenizer)->Encode("axb"), ElementsAre(kAb));
}

}  // namespace
}  // namespace phalanx
