#include "coordinator/text/answer/reasoning_splitter.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"

namespace phalanx {
namespace {

constexpr absl::string_view kOpen = "<think>";
constexpr absl::string_view kClose = "</think>";

// How many bytes at the end of `text` may be the beginning of `tag`. A whole tag is not looked for.
size_t TagBeginning(absl::string_view text, absl::string_view tag) {
  for (size_t bytes = std::min(text.size(), tag.size() - 1); bytes > 0; --bytes) {
    if (absl::EndsWith(text, tag.substr(0, bytes))) return bytes;
  }
  return 0;
}

}  // namespace

bool PromptOpensThinkBlock(absl::string_view prompt_end) {
  return absl::EndsWith(absl::StripTrailingAsciiWhitespace(prompt_end), kOpen);
}

ReasoningSplitter::Piece ReasoningSplitter::Push(absl::string_view text) {
  held_back_.append(text.data(), text.size());
  Piece piece;
  Advance(&piece);
  return piece;
}

void ReasoningSplitter::Advance(Piece* piece) {
  // One piece of text can hold both tags, so this goes through as many states as the text allows.
  for (bool waits = false; !waits;) {
    if (skip_space_) {
      const absl::string_view rest = absl::StripLeadingAsciiWhitespace(held_back_);
      held_back_.erase(0, held_back_.size() - rest.size());
      if (held_back_.empty()) return;
      skip_space_ = false;
    }
    switch (state_) {
      case State::kBeginning:
        waits = AdvanceBeginning();
        break;
      case State::kReasoning:
        waits = AdvanceReasoning(piece);
        break;
      case State::kAnswer:
        piece->answer += std::exchange(held_back_, "");
        return;
    }
  }
}

bool ReasoningSplitter::AdvanceBeginning() {
  const absl::string_view text = absl::StripLeadingAsciiWhitespace(held_back_);
  if (absl::StartsWith(text, kOpen)) {
    held_back_ = std::string(text.substr(kOpen.size()));
    state_ = State::kReasoning;
    skip_space_ = true;
    return false;
  }
  // All of the text may be the beginning of the tag. If it turns out not to be, the white space
  // before it is still in held_back_ and goes to the answer.
  if (absl::StartsWith(kOpen, text)) return true;
  state_ = State::kAnswer;
  return false;
}

bool ReasoningSplitter::AdvanceReasoning(Piece* piece) {
  const size_t close = held_back_.find(kClose.data(), 0, kClose.size());
  if (close != std::string::npos) {
    piece->reasoning += held_back_.substr(0, close);
    held_back_.erase(0, close + kClose.size());
    state_ = State::kAnswer;
    skip_space_ = true;
    return false;
  }
  const size_t certain = held_back_.size() - TagBeginning(held_back_, kClose);
  piece->reasoning += held_back_.substr(0, certain);
  held_back_.erase(0, certain);
  return true;
}

ReasoningSplitter::Piece ReasoningSplitter::Flush() {
  Piece piece;
  // Text that only looked like the beginning of a tag is ordinary text after all.
  std::string* const channel = state_ == State::kReasoning ? &piece.reasoning : &piece.answer;
  *channel = std::exchange(held_back_, "");
  return piece;
}

}  // namespace phalanx
