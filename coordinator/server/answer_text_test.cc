#include "coordinator/server/answer_text.h"

#include "coordinator/server/testing/fake_text_service.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

using State = ReasoningSplitter::State;

std::vector<int32_t> Tokens(const std::string& text) {
  std::vector<int32_t> token_ids;
  for (const char byte : text) token_ids.push_back(static_cast<unsigned char>(byte));
  return token_ids;
}

AnswerText Make(State reasoning, std::vector<std::string> stops) {
  return AnswerText(std::make_unique<FakeAnswerDecoder>(),
                    {.reasoning = reasoning, .stops = std::move(stops)});
}

TEST(AnswerTextTest, PassesTextThrough) {
  AnswerText answer = Make(State::kAnswer, {});
  const AnswerText::Piece piece = answer.Append(Tokens("a\xe2\x82"));
  EXPECT_EQ(piece.answer, "a");
  EXPECT_EQ(piece.num_tokens, 3);
  EXPECT_EQ(answer.Append(Tokens("\xac")).answer, "\xe2\x82\xac");
  EXPECT_EQ(answer.Finish().answer, "");
  EXPECT_EQ(answer.reasoning_tokens(), 0);
}

TEST(AnswerTextTest, CountsTokensUpToTheEndOfTheReasoning) {
  AnswerText answer = Make(State::kBeginning, {});
  const AnswerText::Piece piece = answer.Append(Tokens("<think>hm</think>yes"));
  EXPECT_EQ(piece.reasoning, "hm");
  EXPECT_EQ(piece.answer, "yes");
  EXPECT_EQ(piece.num_tokens, 20);
  EXPECT_EQ(answer.reasoning_tokens(), 17);
}

TEST(AnswerTextTest, ReasoningWithoutEndIsAllTokens) {
  AnswerText answer = Make(State::kReasoning, {});
  EXPECT_EQ(answer.Append(Tokens("hm </th")).reasoning, "hm ");
  EXPECT_EQ(answer.Finish().reasoning, "</th");
  EXPECT_EQ(answer.reasoning_tokens(), 7);
}

TEST(AnswerTextTest, KnowsWhetherTheReasoningHadUsedUpItsTokens) {
  const auto closed = [](State state, int max_tokens, const std::string& text) {
    AnswerText answer(std::make_unique<FakeAnswerDecoder>(),
                      {.reasoning = state, .max_reasoning_tokens = max_tokens});
    answer.Append(Tokens(text));
    return answer.reasoning_closed();
  };
  EXPECT_TRUE(closed(State::kReasoning, 0, "</think>"));
  EXPECT_TRUE(closed(State::kReasoning, 2, "hm</think>"));
  EXPECT_FALSE(closed(State::kReasoning, 2, "hm</think"));
  EXPECT_FALSE(closed(State::kReasoning, 10, "hm</think>yes, much more"));
  EXPECT_TRUE(closed(State::kReasoning, 9, "hm</think>"));
  EXPECT_TRUE(closed(State::kBeginning, 0, "<think></think>"));
  EXPECT_TRUE(closed(State::kBeginning, 14, "<think></think>"));
  EXPECT_FALSE(closed(State::kBeginning, 15, "<think></think>"));
  EXPECT_FALSE(closed(State::kBeginning, 0, "hm</think>"));
}

TEST(AnswerTextTest, TakesNoTokenBehindAStopString) {
  AnswerText answer = Make(State::kAnswer, {"END"});
  EXPECT_EQ(answer.Append(Tokens("a E")).answer, "a ");
  const AnswerText::Piece piece = answer.Append(Tokens("ND b"));
  EXPECT_EQ(piece.answer, "");
  EXPECT_EQ(piece.num_tokens, 2);
  EXPECT_EQ(answer.matched_stop(), "END");
  EXPECT_EQ(answer.Finish().answer, "");
}

TEST(AnswerTextTest, AStopStringDoesNotEndTheReasoning) {
  AnswerText answer = Make(State::kBeginning, {"."});
  const AnswerText::Piece piece = answer.Append(Tokens("<think>a. b</think>c. d"));
  EXPECT_EQ(piece.reasoning, "a. b");
  EXPECT_EQ(piece.answer, "c");
  EXPECT_EQ(answer.matched_stop(), ".");
}

TEST(AnswerTextTest, GivesBackTheBeginningOfAStopStringAtTheEnd) {
  AnswerText answer = Make(State::kAnswer, {"END"});
  EXPECT_EQ(answer.Append(Tokens("a EN")).answer, "a ");
  EXPECT_EQ(answer.Finish().answer, "EN");
  EXPECT_FALSE(answer.matched_stop().has_value());
}

}  // namespace
}  // namespace phalanx
