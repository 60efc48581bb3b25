// From when the tokens of streams came to the figures that a load test reports.
#ifndef PHALANX_TESTS_LOAD_STREAM_TIMING_H_
#define PHALANX_TESTS_LOAD_STREAM_TIMING_H_

#include <vector>

#include "absl/time/time.h"
#include "absl/types/span.h"

namespace phalanx {

// One stream as its client saw it.
struct StreamTiming {
  absl::Time start;
  absl::Time first_token;
  absl::Time last_token;
  int num_tokens = 0;
};

// Streams that ran together.
struct RoundFigures {
  // All tokens over the time from the first start to the last token: prefill included.
  double tokens_per_second = 0;
  // Sum over the streams of their tokens after the first over the time from first to last.
  double decode_tokens_per_second = 0;
  // Of the median and of the slowest stream.
  absl::Duration median_first_token;
  absl::Duration worst_first_token;
};

// `streams` is not empty.
RoundFigures Summarize(absl::Span<const StreamTiming> streams);

// The middle value, or the mean of the two middle ones. `values` is not empty.
double Median(std::vector<double> values);

// Each figure's median over rounds. `rounds` is not empty.
RoundFigures MedianRound(absl::Span<const RoundFigures> rounds);

}  // namespace phalanx

#endif  // PHALANX_TESTS_LOAD_STREAM_TIMING_H_
