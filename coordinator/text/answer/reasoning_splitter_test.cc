#include "coordinator/text/answer/reasoning_splitter.h"

#include "gtest/gtest.h"

namespace phalanx {
namespace {

using State = ReasoningSplitter::State;

struct Result {
  std::string reasoning;
  std::string answer;
};

bool operator==(const Result& a, const Result& b) {
  return a.reasoning == b.reasoning && a.answer == b.answer;
}

std::ostream& operator<<(std::ostream& out, const Result& result) {
  return out << "reasoning \"" << result.reasoning << "\", answer \"" << result.answer << "\"";
}

Result Feed(State state, const std::string& text, size_t piece_bytes) {
  ReasoningSplitter splitter(state);
  Result result;
  const auto add = [&](const ReasoningSplitter::Piece& piece) {
    // Reasoning never comes after the answer.
    EXPECT_TRUE(piece.reasoning.empty() || result.answer.empty());
    result.reasoning += piece.reasoning;
    result.answer += piece.answer;
  };
  for (size_t at = 0; at < text.size(); at += piece_bytes) {
    add(splitter.Push(absl::string_view(text).substr(at, piece_bytes)));
  }
  add(splitter.Flush());
  return result;
}

void ExpectSplit(State state, const std::string& text, const Result& expected) {
  for (const size_t piece_bytes : {1, 2, 3, 5, 1000}) {
    EXPECT_EQ(Feed(state, text, piece_bytes), expected) << text << " in " << piece_bytes;
  }
}

TEST(ReasoningSplitterTest, SplitsABlockAtTheBeginning) {
  ExpectSplit(State::kBeginning, "<think>\nHm, 2 < 3.\n</think>\n\nYes.", {"Hm, 2 < 3.\n", "Yes."});
  ExpectSplit(State::kBeginning, "<think>a</think>b", {"a", "b"});
  ExpectSplit(State::kBeginning, "\n <think></think>b", {"", "b"});
}

TEST(ReasoningSplitterTest, SplitsABlockThatThePromptOpened) {
  ExpectSplit(State::kReasoning, "Hm.\n</think>\n\nYes.", {"Hm.\n", "Yes."});
  ExpectSplit(State::kReasoning, "\nHm.", {"Hm.", ""});
}

TEST(ReasoningSplitterTest, OtherTextIsTheAnswerAsItIs) {
  ExpectSplit(State::kBeginning, "\n  Yes <think>no</think>.", {"", "\n  Yes <think>no</think>."});
  ExpectSplit(State::kBeginning, "<thin air>", {"", "<thin air>"});
  ExpectSplit(State::kBeginning, "  ", {"", "  "});
  ExpectSplit(State::kAnswer, "<think>a</think>b", {"", "<think>a</think>b"});
}

TEST(ReasoningSplitterTest, OnlyTheFirstBlockCounts) {
  ExpectSplit(State::kBeginning, "<think>a</think>b<think>c</think>", {"a", "b<think>c</think>"});
  ExpectSplit(State::kBeginning, "<think>a<think>b</think>c", {"a<think>b", "c"});
}

TEST(ReasoningSplitterTest, WhatLooksLikeATagIsGivenBack) {
  ExpectSplit(State::kReasoning, "a </thin> b </</think>c", {"a </thin> b </", "c"});
  ExpectSplit(State::kReasoning, "a </thi", {"a </thi", ""});
  ExpectSplit(State::kBeginning, "<thi", {"", "<thi"});
}

TEST(ReasoningSplitterTest, TextIsHeldBackOnlyWhereItMayBeATag) {
  ReasoningSplitter splitter(State::kReasoning);
  EXPECT_EQ(splitter.Push("abc").reasoning, "abc");
  EXPECT_EQ(splitter.Push("d </th").reasoning, "d ");
  EXPECT_EQ(splitter.state(), State::kReasoning);
  EXPECT_EQ(splitter.Push("ink>\n").reasoning, "");
  EXPECT_EQ(splitter.state(), State::kAnswer);
  EXPECT_EQ(splitter.Push("\nYes").answer, "Yes");
  EXPECT_EQ(splitter.Push("\n\n").answer, "\n\n");
}

TEST(PromptOpensThinkBlockTest, OnlyAtTheVeryEnd) {
  EXPECT_TRUE(PromptOpensThinkBlock("<|Assistant|><think>\n"));
  EXPECT_TRUE(PromptOpensThinkBlock("<think>"));
  EXPECT_FALSE(PromptOpensThinkBlock("what is <think>?<|assistant|>"));
  EXPECT_FALSE(PromptOpensThinkBlock("<think>\n\n</think>\n\n"));
  EXPECT_FALSE(PromptOpensThinkBlock(""));
}

}  // namespace
}  // namespace phalanx
