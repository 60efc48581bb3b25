// The grammar of a Generate stream: Started, any number of Delta, a Finished for each choice.
#ifndef PHALANX_CLIENT_STREAM_CHECKER_H_
#define PHALANX_CLIENT_STREAM_CHECKER_H_

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "phalanx/v1/inference.pb.h"

namespace phalanx {

// Thread-compatible; one per stream.
class StreamChecker {
 public:
  // For a call that asked for this many choices. What a server makes of a wrong number is its own
  // affair, so that any number is taken here.
  explicit StreamChecker(int num_choices = 1) : choices_(std::clamp(num_choices, 1, kMost)) {}

  // DATA_LOSS if `event` must not come now, as it is out of order, comes twice, or leaves a gap in
  // the sequence numbers.
  absl::Status Check(const v1::GenerateEvent& event);

  // To be called after a stream that ended with OK: DATA_LOSS if Finished is missing, or its usage
  // differs from what came.
  absl::Status CheckEnd() const;

 private:
  static constexpr int kMost = 1024;

  struct Choice {
    int64_t num_tokens = 0;
    // As Finished tells; unset until then.
    std::optional<int64_t> completion_tokens;
  };

  // The choice of this index, if it is one that has not finished and Started has come; else null.
  Choice* Running(int index);

  bool started_ = false;
  uint64_t next_sequence_ = 0;
  std::vector<Choice> choices_;
};

}  // namespace phalanx

#endif  // PHALANX_CLIENT_STREAM_CHECKER_H_
