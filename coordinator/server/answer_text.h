// The text of one answer as the client gets it: split into channels, cut at a stop string.
#ifndef PHALANX_COORDINATOR_SERVER_ANSWER_TEXT_H_
#define PHALANX_COORDINATOR_SERVER_ANSWER_TEXT_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "coordinator/server/text_service.h"
#include "coordinator/text/answer/reasoning_splitter.h"
#include "coordinator/text/answer/stop_matcher.h"

namespace phalanx {

// Thread-compatible. What it returns is whole UTF-8, and the same in sum however the tokens come.
class AnswerText {
 public:
  struct Options {
    // Where the reasoning splitter begins; kAnswer does not split.
    ReasoningSplitter::State reasoning = ReasoningSplitter::State::kAnswer;
    // Matched in the answer, not in the reasoning that was split from it.
    std::vector<std::string> stops;
  };

  struct Piece {
    // All tokens that were given, but for those behind the one that completed a stop string.
    int num_tokens = 0;
    std::string reasoning;
    std::string answer;
  };

  AnswerText(std::unique_ptr<AnswerDecoder> decoder, Options options);

  // Takes microseconds a token. Nothing may follow once a stop string was matched.
  Piece Append(absl::Span<const int32_t> token_ids);
  // What was held back, at the end. May still match a stop string.
  Piece Finish();

  // The stop string that ended the answer.
  const std::optional<std::string>& matched_stop() const { return stop_.match(); }
  // Tokens up to the one that ended the reasoning; all if nothing did, 0 without reasoning.
  int reasoning_tokens() const { return reasoning_tokens_; }

 private:
  void Take(const ReasoningSplitter::Piece& text, Piece* piece);

  const std::unique_ptr<AnswerDecoder> decoder_;
  ReasoningSplitter splitter_;
  StopMatcher stop_;
  int num_tokens_ = 0;
  int reasoning_tokens_ = 0;
};

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_SERVER_ANSWER_TEXT_H_
