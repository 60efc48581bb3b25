// The events of one call that wait for the client to take them.
#ifndef PHALANX_COORDINATOR_SERVER_ANSWER_BUFFER_H_
#define PHALANX_COORDINATOR_SERVER_ANSWER_BUFFER_H_

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "coordinator/routing/group_session.h"
#include "phalanx/v1/inference.pb.h"

namespace phalanx {

// Hands out Started, then log-probabilities of the prompt, Deltas and one Finished for each choice.
// All that is appended to a choice between two calls of Take that hand out its own becomes one
// Delta, so a slow client gets fewer and larger ones. A choice's Finished comes behind its last
// Delta, and choices take turns. Thread-compatible.
class AnswerBuffer {
 public:
  // Comes first: before this, nothing may be appended and Take returns nothing.
  void Start(v1::Started started, int num_choices = 1);
  // `choice` is below the number of choices.
  void Append(int choice, absl::Span<const int32_t> token_ids, absl::string_view text,
              absl::string_view reasoning_text = "",
              std::vector<v1::ToolCallDelta> tool_calls = {});
  // Of the tokens that Append was given last.
  void AppendLogProbs(int choice, absl::Span<const TokenLogProbs> log_probs);
  // Of the prompt's next tokens, handed out before the Deltas that wait.
  void AppendPromptLogProbs(absl::Span<const float> log_probs);
  // Nothing may be appended to the choice after this.
  void Finish(int choice, v1::Finished finished);

  // The next event, or nullopt if there is none yet.
  std::optional<v1::GenerateEvent> Take();

  // Whether Take has handed out the Finished of every choice.
  bool all_taken() const { return num_unfinished_ == 0; }

  // The size of the tokens and the text that were appended and not taken, about as on the wire.
  int64_t buffered_bytes() const { return buffered_bytes_; }

 private:
  struct Choice {
    v1::Delta delta;
    // Of what is in delta.
    int64_t bytes = 0;
    std::optional<v1::Finished> finished;
    // Whether it is in turns_.
    bool waits = false;
  };

  void Queue(int choice);

  std::optional<v1::Started> started_;
  v1::PromptLogProbs prompt_log_probs_;
  // How many of the prompt's tokens have been told of: the first has no log-probability.
  int prompt_position_ = 1;
  std::vector<Choice> choices_;
  // The choices that have something to hand out, in the order in which they get their turns.
  std::deque<int> turns_;
  int num_unfinished_ = 1;
  int64_t buffered_bytes_ = 0;
  uint64_t next_sequence_ = 0;
};

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_SERVER_ANSWER_BUFFER_H_
