// The events of one answer that wait for the client to take them.
#ifndef PHALANX_COORDINATOR_SERVER_ANSWER_BUFFER_H_
#define PHALANX_COORDINATOR_SERVER_ANSWER_BUFFER_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "phalanx/v1/inference.pb.h"

namespace phalanx {

// Hands out Started, Deltas and Finished, in this order. All that is appended between two calls of
// Take becomes one Delta, so a slow client gets fewer and larger ones. Thread-compatible.
class AnswerBuffer {
 public:
  // Before this, Take returns nothing.
  void Start(v1::Started started);
  void Append(absl::Span<const int32_t> token_ids, absl::string_view text,
              absl::string_view reasoning_text = "");
  // Nothing may be appended after this.
  void Finish(v1::Finished finished);

  // The next event, or nullopt if there is none yet.
  std::optional<v1::GenerateEvent> Take();

  // The size of the tokens and the text that were appended and not taken, about as on the wire.
  int64_t buffered_bytes() const;

 private:
  std::optional<v1::Started> started_;
  bool started_taken_ = false;
  v1::Delta delta_;
  uint64_t next_sequence_ = 0;
  std::optional<v1::Finished> finished_;
};

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_SERVER_ANSWER_BUFFER_H_
