// Compares real vocabularies with Hugging Face tokenizers on the lines of
// tests/golden/tokenizer_lines.
#include "coordinator/text/testing/golden_lines.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "coordinator/text/answer/detokenizer.h"
#include "coordinator/text/testing/tokenizer_file.h"
#include "coordinator/text/tokenizer/nfc.h"
#include "coordinator/text/tokenizer/tokenizer.h"

namespace phalanx {
namespace {

using Ids = std::vector<int32_t>;

constexpr int32_t kDecodeBlock = 256;

struct Vocabulary {
  const char* name;      // The beginning of the golden files' names.
  const char* variable;  // The environment variable with the path of the tokenizer.
};

// googletest calls this to name a test.
void PrintTo(const Vocabulary& vocabulary, std::ostream* out) { *out << vocabulary.name; }

class GoldenLinesTest : public testing::TestWithParam<Vocabulary> {
 protected:
  void SetUp() override {
    auto assets = ReadTokenizerFile(std::getenv(GetParam().variable));
    ASSERT_TRUE(assets.ok()) << assets.status();
    auto tokenizer = Tokenizer::Create(*std::move(assets));
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    tokenizer_ = *std::move(tokenizer);
    const std::string lines = std::getenv("LINES");
    folder_ = lines.substr(0, lines.rfind('/') + 1);
  }

  std::vector<std::string> ReadGolden(absl::string_view ending) const {
    return ReadGzipLines(absl::StrCat(folder_, GetParam().name, ".", ending, ".gz"));
  }

  std::vector<std::string> ReadLines() const {
    std::vector<std::string> lines;
    for (const std::string& line : ReadGzipLines(folder_ + "lines.jsonl.gz")) {
      lines.push_back(nlohmann::json::parse(line).get<std::string>());
    }
    return lines;
  }

  // The tokens of a text without the bos token.
  Ids Encode(absl::string_view text, ControlSpelling control) const {
    const TextSpan all{0, text.size()};
    const size_t spans = control == ControlSpelling::kPlainText ? 1 : 0;
    return *tokenizer_->EncodeRendered(text, absl::MakeConstSpan(&all, spans));
  }

  std::string Decode(absl::Span<const int32_t> ids) const {
    Detokenizer detokenizer(&tokenizer_->assets(), Detokenizer::ControlTokens::kSpell);
    std::string text = detokenizer.Push(ids);
    return text + detokenizer.Flush();
  }

  std::unique_ptr<Tokenizer> tokenizer_;
  std::string folder_;
};

// Every 16th line, where characters tell the bytes of a token.
TEST_P(GoldenLinesTest, TokensHaveTheSamePlaces) {
  const std::vector<std::string> lines = ReadLines();
  const std::vector<std::string> golden = ReadGolden("spans");
  ASSERT_EQ(golden.size(), (lines.size() + 15) / 16);
  int compared = 0;
  for (size_t i = 0; i < golden.size(); ++i) {
    const std::string& line = lines[16 * i];
    SCOPED_TRACE(absl::CHexEscape(line));
    const TextSpan all{0, line.size()};
    std::vector<TextSpan> spans;
    const Ids ids =
        *tokenizer_->EncodeRendered(line, absl::MakeConstSpan(&all, 1), nullptr, &spans);
    ASSERT_EQ(spans.size(), ids.size());
    const bool normalized = tokenizer_->assets().normalizes_to_nfc && ToNfc(line) != line;
    const std::vector<std::string> expected =
        golden[i].empty() ? std::vector<std::string>() : absl::StrSplit(golden[i], ' ');
    ASSERT_EQ(expected.size(), ids.size());
    for (size_t t = 0; t < ids.size(); ++t) {
      ASSERT_LE(spans[t].begin, spans[t].end);
      ASSERT_LE(spans[t].end, line.size());
      const std::vector<std::string> ends = absl::StrSplit(expected[t], '-');
      TextSpan wanted;
      if (ends.size() != 2 || !absl::SimpleAtoi(ends[0], &wanted.begin) ||
          !absl::SimpleAtoi(ends[1], &wanted.end)) {
        continue;
      }
      ++compared;
      // Where marks change places, ours has all of them.
      const bool is_exact = spans[t].begin == wanted.begin && spans[t].end == wanted.end;
      const bool has_it = spans[t].begin <= wanted.begin && wanted.end <= spans[t].end;
      ASSERT_TRUE(is_exact || (normalized && has_it))
          << "token " << t << ": " << spans[t].begin << "-" << spans[t].end << ", " << expected[t];
    }
  }
  EXPECT_GT(compared, 10000);
}

TEST_P(GoldenLinesTest, LinesHaveTheSameTokens) {
  const std::vector<std::string> lines = ReadLines();
  const std::vector<std::string> golden = ReadGolden("ids");
  ASSERT_GE(lines.size(), 20'000u);
  ASSERT_EQ(lines.size(), golden.size());
  for (size_t i = 0; i < lines.size(); ++i) {
    const std::vector<std::string> modes = absl::StrSplit(golden[i], '|');
    ASSERT_EQ(absl::StrJoin(Encode(lines[i], ControlSpelling::kPlainText), " "), modes.front())
        << "line " << i << ": " << absl::Utf8SafeCHexEscape(lines[i]);
    ASSERT_EQ(absl::StrJoin(Encode(lines[i], ControlSpelling::kToken), " "), modes.back())
        << "with control tokens, line " << i << ": " << absl::Utf8SafeCHexEscape(lines[i]);
  }
}

TEST_P(GoldenLinesTest, LongLinesAndEveryCharacterHaveTheSameTokens) {
  const std::vector<std::string> golden = ReadGolden("rule_lines");
  size_t i = 0;
  ForEachRuleLine([&](absl::string_view line) {
    ASSERT_LT(i, golden.size());
    EXPECT_EQ(DescribeIds(Encode(line, ControlSpelling::kPlainText)), golden[i])
        << "line " << i << " begins " << absl::Utf8SafeCHexEscape(line.substr(0, 40));
    ++i;
  });
  EXPECT_EQ(i, golden.size());
}

TEST_P(GoldenLinesTest, EveryTokenHasTheSameTextAndThatTheSameTokens) {
  const auto size = static_cast<int32_t>(tokenizer_->assets().token_bytes.size());
  int32_t id = 0;
  for (const std::string& golden : ReadGolden("tokens")) {
    WordHash texts;
    WordHash tokens;
    const int32_t first = id;
    for (; id < size && id < first + kDecodeBlock; ++id) {
      const std::string text = Decode({&id, 1});
      for (const char byte : text) texts.Add(static_cast<uint8_t>(byte));
      texts.Add(256);
      for (const int32_t token : Encode(text, ControlSpelling::kPlainText)) tokens.Add(token);
      tokens.Add(0xffffffff);
    }
    EXPECT_EQ(absl::StrCat(texts.ToString(), " ", tokens.ToString()), golden)
        << "tokens " << first << " to " << id - 1;
  }
  EXPECT_EQ(id, size);
}

TEST_P(GoldenLinesTest, TokensOfALineAreItsText) {
  bool has_byte[256] = {};
  bool takes_space = false;
  for (const std::string& token : tokenizer_->assets().token_bytes) {
    if (token.size() == 1) has_byte[static_cast<uint8_t>(token[0])] = true;
  }
  for (const auto& [id, rules] : tokenizer_->assets().added_token_rules) {
    takes_space = takes_space || rules.lstrip || rules.rstrip;
  }
  for (const std::string& line : ReadLines()) {
    // White space that an added token takes is lost. All the tokens that take it end with one of
    // these.
    if (takes_space && (absl::StrContains(line, "|>") || absl::StrContains(line, ">>"))) continue;
    std::string bytes;
    for (const int32_t id : Encode(line, ControlSpelling::kPlainText)) {
      bytes += tokenizer_->assets().token_bytes[id];
    }
    std::string expected;
    for (const char byte : tokenizer_->assets().normalizes_to_nfc ? ToNfc(line) : line) {
      if (has_byte[static_cast<uint8_t>(byte)]) expected.push_back(byte);
    }
    ASSERT_EQ(bytes, expected) << absl::Utf8SafeCHexEscape(line);
  }
}

INSTANTIATE_TEST_SUITE_P(Published, GoldenLinesTest,
                         testing::Values(Vocabulary{"phi4_mini", "PHI4_MINI"},
                                         Vocabulary{"llama3_1", "LLAMA3_1"},
                                         Vocabulary{"qwen3", "QWEN3"},
                                         Vocabulary{"qwen3_rules", "QWEN3_RULES"},
                                         Vocabulary{"smollm2", "SMOLLM2"}),
                         testing::PrintToStringParamName());

}  // namespace
}  // namespace phalanx
