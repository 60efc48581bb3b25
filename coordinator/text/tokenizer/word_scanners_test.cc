// Tests that each scanner cuts random text as its pattern does in PCRE2.
#include "coordinator/text/tokenizer/word_scanners.h"

#include <cstdint>
#include <iterator>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "coordinator/text/tokenizer/make_pre_tokenizer.h"
#include "coordinator/text/tokenizer/regex_pre_tokenizer.h"
#include "gtest/gtest.h"
#include "model/text/split_patterns.h"

namespace phalanx {
namespace {

struct Rules {
  std::string name;
  std::vector<SplitRule> split_rules;
};

class WordScannersTest : public testing::TestWithParam<Rules> {
 protected:
  static std::vector<std::string> Pieces(const PreTokenizer& pre_tokenizer,
                                         const std::string& text) {
    std::vector<std::string> pieces;
    const absl::Status status =
        pre_tokenizer.Split(text, [&](absl::string_view piece) { pieces.emplace_back(piece); });
    EXPECT_TRUE(status.ok()) << status;
    return pieces;
  }

  void ExpectTheSame(const std::string& text) {
    ASSERT_EQ(Pieces(*scanner_, text), Pieces(*regex_, text)) << text;
  }

  const std::unique_ptr<PreTokenizer> scanner_ = *MakePreTokenizer(GetParam().split_rules);
  const std::unique_ptr<PreTokenizer> regex_ = *MakeRegexPreTokenizer(GetParam().split_rules);
};

// Characters of each class, and those that patterns name.
const char* const kParts[] = {
    " ",      " ",      "  ", "\n",     "\r", "\r\n", "\t",     "\u0085", "\u00a0",
    "\u2028", "\u3000", "a",  "b",      "s",  "S",    "T",      "re",     "LL",
    "\u017f", "'",      "'",  "'s",     "'S", "é",    "Ж",      "ж",      "ǅ",
    "ʰ",      "ª",      "字", "か",     "한", "ا",    "\u0301", "\u093f", "\u20dd",
    "1",      "2",      "½",  "Ⅷ",      "٣",  "/",    "//",     "!",      "?",
    "_",      "-",      "😀",  "\u200d", "$",  "<",    "\ufeff", "\u200b",
};

// A character of blocks that have not changed since Unicode 14, which PCRE2 of Debian 12 knows.
std::string AnyChar(std::mt19937* random) {
  constexpr uint32_t kBlocks[][2] = {{0, 0x7f},        {0x80, 0x896},    {0x900, 0xcf2},
                                     {0x1e00, 0x23ff}, {0x3000, 0xa6ff}, {0xac00, 0xd7a3}};
  const auto& [first, last] = kBlocks[(*random)() % std::size(kBlocks)];
  const uint32_t codepoint = first + (*random)() % (last - first + 1);
  std::string text;
  if (codepoint < 0x80) {
    text.push_back(static_cast<char>(codepoint));
  } else if (codepoint < 0x800) {
    text.push_back(static_cast<char>(0xc0 | codepoint >> 6));
    text.push_back(static_cast<char>(0x80 | (codepoint & 0x3f)));
  } else {
    text.push_back(static_cast<char>(0xe0 | codepoint >> 12));
    text.push_back(static_cast<char>(0x80 | (codepoint >> 6 & 0x3f)));
    text.push_back(static_cast<char>(0x80 | (codepoint & 0x3f)));
  }
  return text;
}

TEST_P(WordScannersTest, CutsMixedTextAsThePatternDoes) {
  std::mt19937 random(21);
  for (int round = 0; round < 10000; ++round) {
    std::string text;
    for (unsigned left = random() % 12; left > 0; --left) {
      text += kParts[random() % std::size(kParts)];
    }
    ExpectTheSame(text);
  }
}

TEST_P(WordScannersTest, CutsCharactersOfAnyKindAsThePatternDoes) {
  std::mt19937 random(22);
  for (int round = 0; round < 5000; ++round) {
    std::string text;
    for (unsigned left = random() % 12; left > 0; --left) {
      text += random() % 2 == 0 ? AnyChar(&random) : kParts[random() % std::size(kParts)];
    }
    ExpectTheSame(text);
  }
}

INSTANTIATE_TEST_SUITE_P(All, WordScannersTest,
                         testing::Values(Rules{"Gpt2", {{kGpt2Pattern}}},
                                         Rules{"SmolLm", {{kDigitPattern}, {kGpt2Pattern}}},
                                         Rules{"Llama3", {{kLlama3Pattern}}},
                                         Rules{"Qwen2", {{kQwen2Pattern}}},
                                         Rules{"O200k", {{kO200kPattern}}}),
                         [](const auto& info) { return info.param.name; });

// Work that is quadratic in a megabyte would be 10^12 steps, and this test would not end.
TEST_P(WordScannersTest, LongRunsAreNoTrouble) {
  const std::string units[] = {"a", "A",      "字",   " ",   "\n", " \n", "\u00a0", "7",
                               "!", "\u0301", "'",    "ʰA",  "aA", "Aa",  " A",     "!\n",
                               "/", "😀",      "\xff", "\t ", "1 ", "'S"};
  for (const std::string& unit : units) {
    std::string text;
    while (text.size() < 1 << 20) text += unit;
    for (const char* const end : {"", "x"}) {
      size_t bytes = 0;
      ASSERT_TRUE(
          scanner_->Split(text + end, [&](absl::string_view p) { bytes += p.size(); }).ok());
      ASSERT_EQ(bytes, text.size() + std::string(end).size()) << unit;
    }
  }
}

}  // namespace
}  // namespace phalanx
