#include "worker/constraint/answer_constraint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace phalanx {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

// The 256 bytes, two tokens of several, "</think>" as a token of its own, then the end.
constexpr int32_t kOpenLong = 256;
constexpr int32_t kWordClose = 257;
constexpr int32_t kClose = 258;
constexpr int32_t kEnd = 259;
constexpr int kVocab = 270;

class AnswerConstraintTest : public ::testing::Test {
 protected:
  AnswerConstraintTest() {
    TokenizerAssets assets;
    for (int byte = 0; byte < 256; ++byte) {
      assets.token_bytes.emplace_back(1, static_cast<char>(byte));
    }
    assets.token_bytes.emplace_back("\n<think>Hm");
    assets.token_bytes.emplace_back("so</thi");
    assets.token_kinds.assign(258, TokenKind::kNormal);
    assets.token_bytes.emplace_back("</think>");
    assets.token_kinds.push_back(TokenKind::kUserDefined);
    assets.token_bytes.emplace_back("<|end|>");
    assets.token_kinds.push_back(TokenKind::kControl);
    assets.eos_token_ids = {kEnd};
    vocabulary_ = *ConstraintVocabulary::Create(assets, kVocab);
  }

  AnswerConstraint Make(const std::string& regex, AnswerBegin begin) {
    return AnswerConstraint(*Constraint::Compile(vocabulary_, {ConstraintKind::kRegex, regex}, {}),
                            begin);
  }

  static std::vector<int32_t> Allowed(AnswerConstraint& constraint) {
    std::vector<uint32_t> bits((kVocab + 31) / 32, 0xdeadbeef);
    constraint.WriteMask(absl::MakeSpan(bits));
    std::vector<int32_t> ids;
    for (int32_t id = 0; id < static_cast<int32_t>(bits.size()) * 32; ++id) {
      if ((bits[static_cast<size_t>(id) / 32] >> (id % 32) & 1) != 0) ids.push_back(id);
    }
    return ids;
  }

  static void Write(AnswerConstraint& constraint, const std::string& text) {
    for (const char c : text) constraint.Accept(static_cast<uint8_t>(c));
  }

  std::shared_ptr<const ConstraintVocabulary> vocabulary_;
};

TEST_F(AnswerConstraintTest, BeginsAtOnce) {
  AnswerConstraint constraint = Make("ab", AnswerBegin::kAtOnce);
  EXPECT_THAT(Allowed(constraint), ElementsAre('a'));
  Write(constraint, "ab");
  EXPECT_TRUE(constraint.finished());
  EXPECT_THAT(Allowed(constraint), ElementsAre(kEnd));
}

TEST_F(AnswerConstraintTest, ThinkingIsFreeButDoesNotEndTheAnswer) {
  AnswerConstraint constraint = Make("ab", AnswerBegin::kInsideThinkBlock);
  // All but the end, and but the logits beyond the tokens, which any request may draw.
  EXPECT_THAT(Allowed(constraint), AllOf(SizeIs(kVocab - 1), Not(Contains(kEnd))));
  Write(constraint, "well </thin> ab");
  EXPECT_FALSE(constraint.finished());
  EXPECT_THAT(Allowed(constraint), SizeIs(kVocab - 1));
  Write(constraint, "</think>");
  EXPECT_THAT(Allowed(constraint), ElementsAre('a'));
}

TEST_F(AnswerConstraintTest, TheTagIsFoundAcrossTokensAndAsAToken) {
  AnswerConstraint constraint = Make("ab", AnswerBegin::kInsideThinkBlock);
  constraint.Accept(kWordClose);
  Write(constraint, "nk");
  EXPECT_THAT(Allowed(constraint), SizeIs(kVocab - 1));
  Write(constraint, ">");
  EXPECT_THAT(Allowed(constraint), ElementsAre('a'));
  AnswerConstraint other = Make("ab", AnswerBegin::kInsideThinkBlock);
  other.Accept(kClose);
  EXPECT_THAT(Allowed(other), ElementsAre('a'));
}

TEST_F(AnswerConstraintTest, AnAnswerMayComeWithoutABlock) {
  AnswerConstraint constraint = Make("a<b", AnswerBegin::kAfterThinkBlock);
  EXPECT_THAT(Allowed(constraint),
              ElementsAre('\t', '\n', '\v', '\f', '\r', ' ', '<', 'a', kOpenLong));
  Write(constraint, "a");
  EXPECT_THAT(Allowed(constraint), ElementsAre('<'));
  Write(constraint, "<b");
  EXPECT_TRUE(constraint.finished());
  EXPECT_TRUE(constraint.status().ok());
}

TEST_F(AnswerConstraintTest, ABlockMayComeBeforeTheAnswer) {
  AnswerConstraint constraint = Make("ab", AnswerBegin::kAfterThinkBlock);
  Write(constraint, "\n<t");
  EXPECT_THAT(Allowed(constraint), ElementsAre('h'));
  Write(constraint, "hink>");
  EXPECT_THAT(Allowed(constraint), SizeIs(kVocab - 1));
  Write(constraint, "ab</think>");
  EXPECT_THAT(Allowed(constraint), ElementsAre('a'));
  EXPECT_TRUE(constraint.status().ok());
}

TEST_F(AnswerConstraintTest, OneTokenMayOpenTheBlock) {
  AnswerConstraint constraint = Make("ab", AnswerBegin::kAfterThinkBlock);
  constraint.Accept(kOpenLong);
  Write(constraint, "</think>ab");
  EXPECT_TRUE(constraint.finished());
}

TEST_F(AnswerConstraintTest, WhatMayBeEitherIsFollowedAsBoth) {
  for (const std::string rest : {"<ab>", "<think>x</think><ab>"}) {
    AnswerConstraint constraint = Make("<[a-z]+>", AnswerBegin::kAfterThinkBlock);
    Write(constraint, rest);
    EXPECT_TRUE(constraint.finished()) << rest;
    EXPECT_TRUE(constraint.status().ok()) << rest;
  }
  // An answer cannot begin with a block that it does not have.
  AnswerConstraint constraint = Make("<[a-z]+>", AnswerBegin::kAfterThinkBlock);
  Write(constraint, "<thick>");
  EXPECT_TRUE(constraint.finished());
}

TEST_F(AnswerConstraintTest, WhiteSpaceBeforeABlockIsBounded) {
  AnswerConstraint constraint = Make("ab", AnswerBegin::kAfterThinkBlock);
  Write(constraint, std::string(16, ' '));
  EXPECT_THAT(Allowed(constraint), ElementsAre('<'));
}

TEST_F(AnswerConstraintTest, ACopyIsAtTheSamePlaceAndGoesItsOwnWay) {
  AnswerConstraint constraint = Make("ab+c", AnswerBegin::kAfterThinkBlock);
  // At the beginning, in the block, and in the answer.
  for (const char* const text : {"", "<th", "ink>so", "</thi", "nk>", "ab"}) {
    Write(constraint, text);
    AnswerConstraint copy = constraint.Copy();
    EXPECT_EQ(Allowed(copy), Allowed(constraint)) << text;
    const std::vector<int32_t> before = Allowed(constraint);
    Write(copy, "</think>ab");
    EXPECT_EQ(Allowed(constraint), before) << text;
  }
  AnswerConstraint copy = constraint.Copy();
  Write(copy, "x");
  EXPECT_FALSE(copy.status().ok());
  EXPECT_TRUE(constraint.status().ok());
}

TEST_F(AnswerConstraintTest, AFailureIsTold) {
  AnswerConstraint constraint = Make("ab", AnswerBegin::kAtOnce);
  Write(constraint, "x");
  EXPECT_EQ(constraint.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Allowed(constraint), IsEmpty());
  AnswerConstraint undecided = Make("ab", AnswerBegin::kAfterThinkBlock);
  Write(undecided, " x");
  EXPECT_EQ(undecided.status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace phalanx
