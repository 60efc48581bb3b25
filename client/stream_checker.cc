#include "client/stream_checker.h"

#include "absl/strings/str_cat.h"

namespace phalanx {

StreamChecker::Choice* StreamChecker::Running(int index) {
  if (!started_ || index < 0 || index >= static_cast<int>(choices_.size())) return nullptr;
  return choices_[index].completion_tokens.has_value() ? nullptr : &choices_[index];
}

absl::Status StreamChecker::Check(const v1::GenerateEvent& event) {
  switch (event.event_case()) {
    case v1::GenerateEvent::kStarted:
      if (started_) return absl::DataLossError("stream: a second Started");
      started_ = true;
      return absl::OkStatus();
    case v1::GenerateEvent::kDelta: {
      Choice* const choice = Running(event.delta().choice());
      if (choice == nullptr) {
        return absl::DataLossError("stream: a Delta outside Started and Finished");
      }
      if (event.delta().sequence() != next_sequence_) {
        return absl::DataLossError(absl::StrCat("stream: Delta ", event.delta().sequence(),
                                                " came where ", next_sequence_, " was expected"));
      }
      ++next_sequence_;
      choice->num_tokens += event.delta().token_ids_size();
      return absl::OkStatus();
    }
    case v1::GenerateEvent::kFinished: {
      Choice* const choice = Running(event.finished().choice());
      if (choice == nullptr) {
        return absl::DataLossError("stream: Finished without Started, or twice");
      }
      choice->completion_tokens = event.finished().usage().completion_tokens();
      return absl::OkStatus();
    }
    case v1::GenerateEvent::kPromptLogProbs:
    case v1::GenerateEvent::EVENT_NOT_SET:
      break;
  }
  // The event is of a kind that only newer servers know, and is let pass.
  return absl::OkStatus();
}

absl::Status StreamChecker::CheckEnd() const {
  for (const Choice& choice : choices_) {
    if (!choice.completion_tokens.has_value()) {
      return absl::DataLossError("stream: ended without Finished");
    }
    if (*choice.completion_tokens != choice.num_tokens) {
      return absl::DataLossError(absl::StrCat("stream: ", choice.num_tokens,
                                              " tokens came, but Finished counts ",
                                              *choice.completion_tokens));
    }
  }
  return absl::OkStatus();
}

}  // namespace phalanx
