#include "coordinator/server/answer_text.h"

#include <utility>

namespace phalanx {

AnswerText::AnswerText(std::unique_ptr<AnswerDecoder> decoder, Options options)
    : decoder_(std::move(decoder)),
      splitter_(options.reasoning),
      stop_(std::move(options.stops)),
      max_reasoning_tokens_(options.max_reasoning_tokens) {
  if (options.tools != nullptr) tools_.emplace(std::move(options.tools));
  CheckReasoning();
}

AnswerText::Piece AnswerText::Append(absl::Span<const int32_t> token_ids) {
  Piece piece;
  // Token by token, to know which one completed a stop string and which were reasoning.
  for (size_t i = 0; i < token_ids.size() && !matched_stop().has_value(); ++i) {
    ++piece.num_tokens;
    ++num_tokens_;
    const bool was_reasoning = in_reasoning();
    Take(splitter_.Push(decoder_->Append(token_ids.subspan(i, 1))), &piece);
    // The token that closes the reasoning counts, and so do those before the one that opened it.
    if (was_reasoning || in_reasoning()) reasoning_tokens_ = num_tokens_;
    CheckReasoning();
  }
  return piece;
}

void AnswerText::CheckReasoning() {
  if (!max_reasoning_tokens_.has_value()) return;
  if (in_reasoning() && num_tokens_ >= *max_reasoning_tokens_) reasoning_used_up_ = true;
}

AnswerText::Piece AnswerText::Finish() {
  Piece piece;
  Take(splitter_.Push(decoder_->Finish()), &piece);
  Take(splitter_.Flush(), &piece);
  if (tools_.has_value()) Take(tools_->Finish(), &piece);
  piece.answer += stop_.Flush();
  return piece;
}

void AnswerText::Take(const ReasoningSplitter::Piece& text, Piece* piece) {
  piece->reasoning += text.reasoning;
  if (tools_.has_value()) {
    Take(tools_->Push(text.answer), piece);
  } else {
    piece->answer += stop_.Push(text.answer);
  }
}

void AnswerText::Take(ToolCallReader::Output output, Piece* piece) {
  piece->answer += stop_.Push(output.text);
  // Behind a stop string there is nothing.
  if (matched_stop().has_value()) return;
  for (v1::ToolCallDelta& call : output.calls) piece->tool_calls.push_back(std::move(call));
}

}  // namespace phalanx
