#include "client/stream_checker.h"

#include "absl/strings/str_cat.h"

namespace phalanx {

absl::Status StreamChecker::Check(const v1::GenerateEvent& event) {
  switch (event.event_case()) {
    case v1::GenerateEvent::kStarted:
      if (state_ != State::kBeforeStarted) return absl::DataLossError("stream: a second Started");
      state_ = State::kRunning;
      return absl::OkStatus();
    case v1::GenerateEvent::kDelta:
      if (state_ != State::kRunning) {
        return absl::DataLossError("stream: a Delta outside Started and Finished");
      }
      if (event.delta().sequence() != next_sequence_) {
        return absl::DataLossError(absl::StrCat("stream: Delta ", event.delta().sequence(),
                                                " came where ", next_sequence_, " was expected"));
      }
      ++next_sequence_;
      num_tokens_ += event.delta().token_ids_size();
      return absl::OkStatus();
    case v1::GenerateEvent::kFinished:
      if (state_ != State::kRunning) {
        return absl::DataLossError("stream: Finished without Started, or twice");
      }
      state_ = State::kFinished;
      completion_tokens_ = event.finished().usage().completion_tokens();
      return absl::OkStatus();
    case v1::GenerateEvent::EVENT_NOT_SET:
      break;
  }
  // The event is of a kind that only newer servers know, and is let pass.
  return absl::OkStatus();
}

absl::Status StreamChecker::CheckEnd() const {
  if (state_ != State::kFinished) return absl::DataLossError("stream: ended without Finished");
  if (completion_tokens_ != num_tokens_) {
    return absl::DataLossError(absl::StrCat("stream: ", num_tokens_, " tokens came, but Finished ",
                                            "counts ", completion_tokens_));
  }
  return absl::OkStatus();
}

}  // namespace phalanx
