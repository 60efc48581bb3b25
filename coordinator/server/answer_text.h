// The text of one answer as the client gets it: split into channels, tool calls taken out, cut at a
// stop string.
#ifndef PHALANX_COORDINATOR_SERVER_ANSWER_TEXT_H_
#define PHALANX_COORDINATOR_SERVER_ANSWER_TEXT_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "coordinator/server/text_service.h"
#include "coordinator/server/tool_calls.h"
#include "coordinator/text/answer/reasoning_splitter.h"
#include "coordinator/text/answer/stop_matcher.h"

namespace phalanx {

// Thread-compatible. Each piece is whole UTF-8. Together the pieces are the same text, however the
// tokens are divided among calls.
class AnswerText {
 public:
  struct Options {
    // The state that the reasoning splitter begins in; kAnswer never splits.
    ReasoningSplitter::State reasoning = ReasoningSplitter::State::kAnswer;
    // Set if the engine closes the reasoning when the answer has so many tokens.
    std::optional<int32_t> max_reasoning_tokens = std::nullopt;
    // Matched in the answer's text, not in the reasoning and the calls that were split from it.
    std::vector<std::string> stops = {};
    // Whose calls are taken out of the answer; null to leave them in its text.
    std::shared_ptr<const ToolSet> tools = nullptr;
  };

  struct Piece {
    // How many of the given tokens belong to the answer: all, or those up to the one that completed
    // a stop string.
    int num_tokens = 0;
    std::string reasoning;
    std::string answer;
    std::vector<v1::ToolCallDelta> tool_calls = {};
  };

  AnswerText(std::unique_ptr<AnswerDecoder> decoder, Options options);

  // Takes microseconds a token. Not to be called any more once a stop string was matched.
  Piece Append(absl::Span<const int32_t> token_ids);
  // To be called when the answer has finished: returns what was held back. That may still match a
  // stop string.
  Piece Finish();

  // The stop string that ended the answer.
  const std::optional<std::string>& matched_stop() const { return stop_.match(); }
  // How many tokens were reasoning: those up to the one that closed it, all if none did, 0 if there
  // was no reasoning.
  int reasoning_tokens() const { return reasoning_tokens_; }
  // Whether the text so far ends inside of the reasoning.
  bool in_reasoning() const { return splitter_.state() == ReasoningSplitter::State::kReasoning; }
  // Whether the reasoning has ended because it had used up its tokens.
  bool reasoning_closed() const {
    return reasoning_used_up_ && splitter_.state() == ReasoningSplitter::State::kAnswer;
  }
  // How many tool calls were taken out of the answer.
  int tool_calls() const { return tools_.has_value() ? tools_->calls() : 0; }

 private:
  // Notes whether the reasoning goes on when its tokens are used up.
  void CheckReasoning();
  void Take(const ReasoningSplitter::Piece& text, Piece* piece);
  void Take(ToolCallReader::Output output, Piece* piece);

  const std::unique_ptr<AnswerDecoder> decoder_;
  ReasoningSplitter splitter_;
  std::optional<ToolCallReader> tools_;
  StopMatcher stop_;
  int num_tokens_ = 0;
  int reasoning_tokens_ = 0;
  const std::optional<int32_t> max_reasoning_tokens_;
  bool reasoning_used_up_ = false;
};

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_SERVER_ANSWER_TEXT_H_
