// Splits what a model thinks from what it answers.
#ifndef PHALANX_COORDINATOR_TEXT_ANSWER_REASONING_SPLITTER_H_
#define PHALANX_COORDINATOR_TEXT_ANSWER_REASONING_SPLITTER_H_

#include <string>

#include "absl/strings/string_view.h"

namespace phalanx {

// Whether an answer to this prompt begins inside a think block: it ends with "<think>" and perhaps
// white space, as some templates write it.
bool PromptOpensThinkBlock(absl::string_view prompt_end);

// The text of an answer that begins with "<think>" (perhaps after white space), or that was begun
// inside the block, belongs to the reasoning up to "</think>"; all other text is the answer. The
// two tags and the white space right behind each belong to neither. Text, not tokens: in many
// vocabularies the tags are no tokens. Thread-compatible.
class ReasoningSplitter {
 public:
  enum class State {
    kBeginning,  // Nothing but white space or a part of "<think>" has come.
    kReasoning,
    kAnswer,
  };

  struct Piece {
    std::string reasoning;
    std::string answer;
  };

  // kReasoning: the prompt opened the block. kAnswer: no splitting.
  explicit ReasoningSplitter(State state)
      : state_(state), skip_space_(state == State::kReasoning) {}

  // What has become certain. Holds back what may become a tag.
  Piece Push(absl::string_view text);
  // What was held back, at the end.
  Piece Flush();

  State state() const { return state_; }

 private:
  void Advance(Piece* piece);
  // These return whether more text is needed.
  bool AdvanceBeginning();
  bool AdvanceReasoning(Piece* piece);

  State state_;
  // A tag was the last thing.
  bool skip_space_;
  std::string held_back_;
};

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_TEXT_ANSWER_REASONING_SPLITTER_H_
