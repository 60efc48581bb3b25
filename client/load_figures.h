// From when the tokens of requests came to the figures that `phalanx bench` reports.
#ifndef PHALANX_CLIENT_LOAD_FIGURES_H_
#define PHALANX_CLIENT_LOAD_FIGURES_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace phalanx {

// One request as its client saw it.
class RequestRecord {
 public:
  // `start` is when it was sent or, if it should have been sent before, when that was.
  explicit RequestRecord(absl::Time start) : start_(start), last_token_(start) {}

  // Tokens that came together, at least one.
  void AddTokens(int tokens, absl::Time now);
  void set_prompt_tokens(int tokens) { prompt_tokens_ = tokens; }
  void End(const absl::Status& status, absl::Time now);

  const absl::Status& status() const { return status_; }
  int prompt_tokens() const { return prompt_tokens_; }
  int output_tokens() const { return output_tokens_; }
  absl::Time start() const { return start_; }
  absl::Time end() const { return end_; }
  absl::Duration first_token() const { return first_token_; }
  // Of each token after those that came first: the time since the tokens before it, divided by the
  // number of tokens that it came with.
  const std::vector<double>& token_seconds() const { return token_seconds_; }

 private:
  absl::Time start_;
  absl::Time last_token_;
  absl::Time end_;
  absl::Duration first_token_;
  int prompt_tokens_ = 0;
  int output_tokens_ = 0;
  std::vector<double> token_seconds_;
  absl::Status status_;
};

// Of a time in seconds.
struct Percentiles {
  size_t count = 0;
  double mean = 0;
  double p50 = 0;
  double p90 = 0;
  double p99 = 0;
  double most = 0;
};

// The value below which that part (0 to 1) of the values lies; between two values in proportion, as
// numpy's default has it. `sorted` is ascending and not empty.
double Quantile(const std::vector<double>& sorted, double part);
// Zeros for no values.
Percentiles PercentilesOf(std::vector<double> values);

struct LoadFigures {
  int completed = 0;
  // Requests that failed, by status code, and what the first of each said.
  std::map<std::string, int> errors;
  std::map<std::string, std::string> first_messages;
  int cancelled = 0;  // By the user, which is no failure.
  // From the first start to the last end of those that completed.
  double seconds = 0;
  int64_t prompt_tokens = 0;
  int64_t output_tokens = 0;
  double requests_per_second = 0;
  double output_tokens_per_second = 0;
  double total_tokens_per_second = 0;
  Percentiles first_token;
  Percentiles inter_token;
  Percentiles end_to_end;

  int failed() const;
};

// Times and tokens are of the requests that completed. With `interrupted`, CANCELLED is no error.
LoadFigures Summarize(const std::vector<RequestRecord>& records, bool interrupted);

}  // namespace phalanx

#endif  // PHALANX_CLIENT_LOAD_FIGURES_H_
