#include "worker/constraint/think_watch.h"

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace phalanx {
namespace {

constexpr absl::string_view kOpen = "<think>";
constexpr absl::string_view kClose = "</think>";

}  // namespace

void ThinkWatch::Accept(absl::string_view text) {
  if (state_ == State::kAnswer) return;
  absl::StrAppend(&tail_, text);
  if (state_ == State::kBeginning) {
    tail_ = std::string(absl::StripLeadingAsciiWhitespace(tail_));
    if (absl::StartsWith(kOpen, tail_) && tail_.size() < kOpen.size()) return;
    if (!absl::StartsWith(tail_, kOpen)) {
      state_ = State::kAnswer;
      return;
    }
    state_ = State::kThinking;
    // The rest of the text is in the block.
    tail_.erase(0, kOpen.size());
  }
  if (absl::StrContains(tail_, kClose)) {
    state_ = State::kAnswer;
  } else if (tail_.size() >= kClose.size()) {
    tail_.erase(0, tail_.size() - (kClose.size() - 1));
  }
}

}  // namespace phalanx
