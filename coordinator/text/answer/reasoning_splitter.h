// Splits the text of a model into its reasoning and its answer.
#ifndef PHALANX_COORDINATOR_TEXT_ANSWER_REASONING_SPLITTER_H_
#define PHALANX_COORDINATOR_TEXT_ANSWER_REASONING_SPLITTER_H_

#include <string>

#include "absl/strings/string_view.h"

namespace phalanx {

// Whether an answer to this prompt begins inside a think block. It does if the prompt ends with
// "<think>" and perhaps white space, as some templates write it.
bool PromptOpensThinkBlock(absl::string_view prompt_end);

// The text of an answer that begins with "<think>" (perhaps after white space), or that was begun
// inside the block, belongs to the reasoning up to "</think>". All other text is the answer. The
// two tags and the white space right behind each of them belong to neither. The tags are looked for
// in text and not among tokens, because in many vocabularies they are no tokens. Thread-compatible.
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

  // `state` is kBeginning for most answers, kReasoning if the prompt opened the block, and kAnswer
  // to split nothing.
  explicit ReasoningSplitter(State state)
      : state_(state), skip_space_(state == State::kReasoning) {}

  // Returns the text that has become certain, and holds back what may become a tag.
  Piece Push(absl::string_view text);
  // To be called at the end. Returns what was held back.
  Piece Flush();

  State state() const { return state_; }

 private:
  void Advance(Piece* piece);
  // AdvanceBeginning and AdvanceReasoning return whether more text is needed.
  bool AdvanceBeginning();
  bool AdvanceReasoning(Piece* piece);

  State state_;
  // Whether nothing but white space has come since the last tag.
  bool skip_space_;
  std::string held_back_;
};

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_TEXT_ANSWER_REASONING_SPLITTER_H_
