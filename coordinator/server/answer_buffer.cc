#include "coordinator/server/answer_buffer.h"

#include <utility>

#include "coordinator/server/tool_calls.h"

namespace phalanx {
namespace {

// The size of a varint for a vocabulary of up to two million.
constexpr int64_t kBytesPerToken = 3;
constexpr int64_t kBytesPerLogProb = 4;
// Of a message in a repeated field: its tag and its length, and the tags of its fields.
constexpr int64_t kBytesPerTopToken = 4 + kBytesPerToken + kBytesPerLogProb;

}  // namespace

void AnswerBuffer::Start(v1::Started started, int num_choices) {
  started_ = std::move(started);
  choices_.resize(num_choices);
  num_unfinished_ = num_choices;
}

void AnswerBuffer::Append(int choice, absl::Span<const int32_t> token_ids, absl::string_view text,
                          absl::string_view reasoning_text,
                          std::vector<v1::ToolCallDelta> tool_calls) {
  const int64_t bytes = kBytesPerToken * static_cast<int64_t>(token_ids.size()) +
                        static_cast<int64_t>(text.size() + reasoning_text.size()) +
                        ToolCallBytes(tool_calls);
  if (bytes == 0) return;
  Choice& entry = choices_[choice];
  entry.delta.mutable_token_ids()->Add(token_ids.begin(), token_ids.end());
  entry.delta.mutable_text()->append(text.data(), text.size());
  entry.delta.mutable_reasoning_text()->append(reasoning_text.data(), reasoning_text.size());
  AppendToolCalls(std::move(tool_calls), entry.delta.mutable_tool_calls());
  entry.bytes += bytes;
  buffered_bytes_ += bytes;
  Queue(choice);
}

void AnswerBuffer::AppendLogProbs(int choice, absl::Span<const TokenLogProbs> log_probs) {
  Choice& entry = choices_[choice];
  int64_t bytes = 0;
  for (const TokenLogProbs& of_token : log_probs) {
    v1::TokenLogProb& message = *entry.delta.add_log_probs();
    message.set_log_prob(of_token.log_prob);
    for (const TokenLogProbs::Token& token : of_token.top) {
      v1::TopToken& top = *message.add_top();
      top.set_token_id(token.id);
      top.set_log_prob(token.log_prob);
    }
    bytes += kBytesPerLogProb + kBytesPerTopToken * static_cast<int64_t>(of_token.top.size());
  }
  entry.bytes += bytes;
  buffered_bytes_ += bytes;
}

void AnswerBuffer::AppendPromptLogProbs(absl::Span<const float> log_probs) {
  prompt_log_probs_.mutable_log_probs()->Add(log_probs.begin(), log_probs.end());
  buffered_bytes_ += kBytesPerLogProb * static_cast<int64_t>(log_probs.size());
}

void AnswerBuffer::Finish(int choice, v1::Finished finished) {
  finished.set_choice(choice);
  choices_[choice].finished = std::move(finished);
  Queue(choice);
}

void AnswerBuffer::Queue(int choice) {
  if (!std::exchange(choices_[choice].waits, true)) turns_.push_back(choice);
}

std::optional<v1::GenerateEvent> AnswerBuffer::Take() {
  v1::GenerateEvent event;
  if (started_.has_value()) {
    *event.mutable_started() = *std::exchange(started_, std::nullopt);
    return event;
  }
  if (const int count = prompt_log_probs_.log_probs_size(); count > 0) {
    prompt_log_probs_.set_position(prompt_position_);
    prompt_position_ += count;
    buffered_bytes_ -= kBytesPerLogProb * count;
    event.mutable_prompt_log_probs()->Swap(&prompt_log_probs_);
    return event;
  }
  if (turns_.empty()) return std::nullopt;
  const int index = turns_.front();
  turns_.pop_front();
  Choice& choice = choices_[index];
  choice.waits = false;
  if (choice.bytes == 0) {
    *event.mutable_finished() = *std::exchange(choice.finished, std::nullopt);
    --num_unfinished_;
    return event;
  }
  choice.delta.set_choice(index);
  choice.delta.set_sequence(next_sequence_++);
  // After the swap delta is the empty Delta of a new event.
  event.mutable_delta()->Swap(&choice.delta);
  choice.delta.Clear();
  buffered_bytes_ -= std::exchange(choice.bytes, 0);
  if (choice.finished.has_value()) Queue(index);
  return event;
}

}  // namespace phalanx
