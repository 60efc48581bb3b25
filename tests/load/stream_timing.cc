#include "tests/load/stream_timing.h"

#include <algorithm>

namespace phalanx {

RoundFigures Summarize(absl::Span<const StreamTiming> streams) {
  RoundFigures figures;
  absl::Time start = absl::InfiniteFuture();
  absl::Time end = absl::InfinitePast();
  int num_tokens = 0;
  std::vector<double> first_token_seconds;
  for (const StreamTiming& stream : streams) {
    start = std::min(start, stream.start);
    end = std::max(end, stream.last_token);
    num_tokens += stream.num_tokens;
    first_token_seconds.push_back(absl::ToDoubleSeconds(stream.first_token - stream.start));
    const double decode_seconds = absl::ToDoubleSeconds(stream.last_token - stream.first_token);
    if (decode_seconds > 0) {
      figures.decode_tokens_per_second += (stream.num_tokens - 1) / decode_seconds;
    }
  }
  if (end > start) figures.tokens_per_second = num_tokens / absl::ToDoubleSeconds(end - start);
  figures.worst_first_token =
      absl::Seconds(*std::max_element(first_token_seconds.begin(), first_token_seconds.end()));
  figures.median_first_token = absl::Seconds(Median(std::move(first_token_seconds)));
  return figures;
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

RoundFigures MedianRound(absl::Span<const RoundFigures> rounds) {
  const auto median_of = [&](auto figure) {
    std::vector<double> values;
    for (const RoundFigures& round : rounds) values.push_back(figure(round));
    return Median(std::move(values));
  };
  RoundFigures median;
  median.tokens_per_second = median_of([](const auto& r) { return r.tokens_per_second; });
  median.decode_tokens_per_second =
      median_of([](const auto& r) { return r.decode_tokens_per_second; });
  median.median_first_token = absl::Seconds(
      median_of([](const auto& r) { return absl::ToDoubleSeconds(r.median_first_token); }));
  median.worst_first_token = absl::Seconds(
      median_of([](const auto& r) { return absl::ToDoubleSeconds(r.worst_first_token); }));
  return median;
}

}  // namespace phalanx
