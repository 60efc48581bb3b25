// The grammar of a Generate stream: Started, Delta..., Finished.
#ifndef PHALANX_CLIENT_STREAM_CHECKER_H_
#define PHALANX_CLIENT_STREAM_CHECKER_H_

#include <cstdint>

#include "absl/status/status.h"
#include "phalanx/v1/inference.pb.h"

namespace phalanx {

// Thread-compatible; one per stream.
class StreamChecker {
 public:
  // DATA_LOSS if `event` must not come now, as it is out of order, comes twice, or leaves a gap in
  // the sequence numbers.
  absl::Status Check(const v1::GenerateEvent& event);

  // To be called after a stream that ended with OK: DATA_LOSS if Finished is missing, or its usage
  // differs from what came.
  absl::Status CheckEnd() const;

 private:
  enum class State { kBeforeStarted, kRunning, kFinished };

  State state_ = State::kBeforeStarted;
  uint64_t next_sequence_ = 0;
  int64_t num_tokens_ = 0;
  int64_t completion_tokens_ = 0;
};

}  // namespace phalanx

#endif  // PHALANX_CLIENT_STREAM_CHECKER_H_
