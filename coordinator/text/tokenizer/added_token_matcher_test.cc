#include "coordinator/text/tokenizer/added_token_matcher.h"

#include <string>
#include <utility>
#include <vector>

#include "coordinator/text/testing/tiny_vocabulary.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class AddedTokenMatcherTest : public testing::Test {
 protected:
  // Finds kControl, kLongControl and kUserToken, and returns their bytes and ids.
  std::vector<std::pair<std::string, int32_t>> Find(const std::string& text) const {
    const AddedTokenMatcher matcher(&assets_, {kControl, kLongControl, kUserToken});
    std::vector<std::pair<std::string, int32_t>> found;
    for (const AddedTokenMatcher::Match& match : matcher.FindAll(text, {})) {
      found.emplace_back(text.substr(match.span.begin, match.span.end - match.span.begin),
                         match.id);
    }
    return found;
  }

  TokenizerAssets assets_ = TinyVocabulary();
};

TEST_F(AddedTokenMatcherTest, TakesTheLeftmostAndLongest) {
  EXPECT_THAT(Find(""), IsEmpty());
  EXPECT_THAT(Find("<|a|"), IsEmpty());
  EXPECT_THAT(Find("<<|a|>|a|>"), ElementsAre(std::pair{"<|a|>", kControl}));
  EXPECT_THAT(Find("x<|a|>>[tool]"),
              ElementsAre(std::pair{"<|a|>>", kLongControl}, std::pair{"[tool]", kUserToken}));
}

TEST_F(AddedTokenMatcherTest, StripsWhiteSpaceOnTheSidesThatTheTokenSays) {
  assets_.added_token_rules[kControl] = {.rstrip = true};
  assets_.added_token_rules[kUserToken] = {.lstrip = true};
  EXPECT_THAT(
      Find("x <|a|> \n\u3000y \t[tool] z"),
      ElementsAre(std::pair{"<|a|> \n\u3000", kControl}, std::pair{" \t[tool]", kUserToken}));
  // The first token has taken the white space that the second one would take.
  EXPECT_THAT(Find("<|a|>  [tool]"),
              ElementsAre(std::pair{"<|a|>  ", kControl}, std::pair{"[tool]", kUserToken}));
  EXPECT_THAT(Find(" <|a|>"), ElementsAre(std::pair{"<|a|>", kControl}));
}

TEST_F(AddedTokenMatcherTest, SingleWordsAreNotNextToWordCharacters) {
  assets_.added_token_rules[kUserToken] = {.single_word = true};
  EXPECT_THAT(Find("x[tool]"), IsEmpty());
  EXPECT_THAT(Find("[tool]é"), IsEmpty());
  EXPECT_THAT(Find("_[tool]"), IsEmpty());
  EXPECT_THAT(Find("字[tool] "), IsEmpty());
  EXPECT_THAT(Find("½[tool]\u20ac"), ElementsAre(std::pair{"[tool]", kUserToken}));
  EXPECT_THAT(Find(" [tool]."), ElementsAre(std::pair{"[tool]", kUserToken}));
}

}  // namespace
}  // namespace phalanx
