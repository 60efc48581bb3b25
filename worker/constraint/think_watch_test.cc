#include "worker/constraint/think_watch.h"

#include <gtest/gtest.h>

#include <string>

namespace phalanx {
namespace {

using State = ThinkWatch::State;

// The state after `text`, which comes in pieces of `piece_bytes`.
State After(State state, absl::string_view text, size_t piece_bytes) {
  ThinkWatch watch(state);
  for (size_t at = 0; at < text.size(); at += piece_bytes) {
    watch.Accept(text.substr(at, piece_bytes));
  }
  return watch.state();
}

TEST(ThinkWatchTest, TagsAreFoundHoweverTheTextIsCut) {
  struct Case {
    State begin;
    std::string text;
    State end;
  };
  for (const Case& c : {
           Case{State::kBeginning, "", State::kBeginning},
           Case{State::kBeginning, std::string(40, ' ') + "\n<thi", State::kBeginning},
           Case{State::kBeginning, " <think", State::kBeginning},
           Case{State::kBeginning, " <think>", State::kThinking},
           Case{State::kBeginning, " <think>Hm, <think> </thin", State::kThinking},
           Case{State::kBeginning, "<think></think>", State::kAnswer},
           Case{State::kBeginning, "<think>Hm</think>Yes. <think>", State::kAnswer},
           Case{State::kBeginning, "<thing>", State::kAnswer},
           Case{State::kBeginning, "Yes <think>", State::kAnswer},
           Case{State::kBeginning, "</think>", State::kAnswer},
           Case{State::kThinking, "", State::kThinking},
           Case{State::kThinking, "<think>a</think", State::kThinking},
           Case{State::kThinking, "a<</</think>b", State::kAnswer},
           Case{State::kThinking, "</thi\n</think>", State::kAnswer},
           Case{State::kThinking, "</thi\nnk>", State::kThinking},
           Case{State::kAnswer, "<think>", State::kAnswer},
       }) {
    for (const size_t piece_bytes : {1, 2, 3, 5, 7, 100}) {
      EXPECT_EQ(After(c.begin, c.text, piece_bytes), c.end) << c.text << " by " << piece_bytes;
    }
  }
}

TEST(ThinkWatchTest, TokensWithoutTextChangeNothing) {
  ThinkWatch watch(State::kBeginning);
  watch.Accept("");
  EXPECT_EQ(watch.state(), State::kBeginning);
  watch.Accept("<think>");
  watch.Accept("");
  EXPECT_EQ(watch.state(), State::kThinking);
}

}  // namespace
}  // namespace phalanx
