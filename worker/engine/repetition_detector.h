// Finds answers that go round in circles.
#ifndef PHALANX_WORKER_ENGINE_REPETITION_DETECTOR_H_
#define PHALANX_WORKER_ENGINE_REPETITION_DETECTOR_H_

#include <cstdint>
#include <vector>

#include "model/generation/generation_options.h"

namespace phalanx {

// Of one answer, to which tokens are added one by one. What an addition costs is one comparison for
// each period that the limit allows, however long the answer gets.
class RepetitionDetector {
 public:
  explicit RepetitionDetector(const RepetitionLimit& limit);

  // Whether the answer, with this token as its last, ends with limit.times copies of the same 1 to
  // max_period_tokens tokens, which together have at least min_tokens tokens. The copies may be
  // more, so that a short period counts as soon as it is long enough.
  bool Add(int32_t token);

 private:
  const RepetitionLimit limit_;
  // The last max_period_tokens tokens, in a ring.
  std::vector<int32_t> recent_;
  int64_t count_ = 0;
  // For period p, at p - 1: how many of the last tokens, in a row, are the same as the one p before
  // each.
  std::vector<int64_t> matches_;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_ENGINE_REPETITION_DETECTOR_H_
