#include "coordinator/server/answer_buffer.h"

#include <utility>

namespace phalanx {
namespace {

// The size of a varint for a vocabulary of up to two million.
constexpr int64_t kBytesPerToken = 3;

}  // namespace

void AnswerBuffer::Start(v1::Started started) { started_ = std::move(started); }

void AnswerBuffer::Append(absl::Span<const int32_t> token_ids, absl::string_view text,
                          absl::string_view reasoning_text) {
  delta_.mutable_token_ids()->Add(token_ids.begin(), token_ids.end());
  delta_.mutable_text()->append(text.data(), text.size());
  delta_.mutable_reasoning_text()->append(reasoning_text.data(), reasoning_text.size());
}

void AnswerBuffer::Finish(v1::Finished finished) { finished_ = std::move(finished); }

std::optional<v1::GenerateEvent> AnswerBuffer::Take() {
  v1::GenerateEvent event;
  if (!started_.has_value()) return std::nullopt;
  if (!started_taken_) {
    started_taken_ = true;
    *event.mutable_started() = *started_;
    return event;
  }
  if (buffered_bytes() > 0) {
    // After the swap delta_ is the empty Delta of a new event.
    delta_.set_sequence(next_sequence_++);
    event.mutable_delta()->Swap(&delta_);
    delta_.Clear();
    return event;
  }
  if (!finished_.has_value()) return std::nullopt;
  *event.mutable_finished() = *std::exchange(finished_, std::nullopt);
  return event;
}

int64_t AnswerBuffer::buffered_bytes() const {
  return kBytesPerToken * delta_.token_ids_size() +
         static_cast<int64_t>(delta_.text().size() + delta_.reasoning_text().size());
}

}  // namespace phalanx
