#include "client/load_figures.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

namespace phalanx {

void RequestRecord::AddTokens(int tokens, absl::Time now) {
  if (output_tokens_ == 0) {
    first_token_ = now - start_;
  } else {
    const double each = absl::ToDoubleSeconds(now - last_token_) / tokens;
    token_seconds_.insert(token_seconds_.end(), static_cast<size_t>(tokens), each);
  }
  output_tokens_ += tokens;
  last_token_ = now;
}

void RequestRecord::End(const absl::Status& status, absl::Time now) {
  status_ = status;
  end_ = now;
}

double Quantile(const std::vector<double>& sorted, double part) {
  const double place = part * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(std::floor(place));
  const size_t above = std::min(below + 1, sorted.size() - 1);
  const double share = place - static_cast<double>(below);
  return sorted[below] + share * (sorted[above] - sorted[below]);
}

Percentiles PercentilesOf(std::vector<double> values) {
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  const double sum = std::accumulate(values.begin(), values.end(), 0.0);
  return {.count = values.size(),
          .mean = sum / static_cast<double>(values.size()),
          .p50 = Quantile(values, 0.5),
          .p90 = Quantile(values, 0.9),
          .p99 = Quantile(values, 0.99),
          .most = values.back()};
}

int LoadFigures::failed() const {
  int sum = 0;
  for (const auto& [code, count] : errors) sum += count;
  return sum;
}

LoadFigures Summarize(const std::vector<RequestRecord>& records, bool interrupted) {
  LoadFigures figures;
  absl::Time start = absl::InfiniteFuture();
  absl::Time end = absl::InfinitePast();
  std::vector<double> first_token, inter_token, end_to_end;
  for (const RequestRecord& record : records) {
    if (interrupted && absl::IsCancelled(record.status())) {
      ++figures.cancelled;
      continue;
    }
    if (!record.status().ok()) {
      const std::string code = absl::StatusCodeToString(record.status().code());
      ++figures.errors[code];
      figures.first_messages.emplace(code, record.status().message());
      continue;
    }
    ++figures.completed;
    start = std::min(start, record.start());
    end = std::max(end, record.end());
    figures.prompt_tokens += record.prompt_tokens();
    figures.output_tokens += record.output_tokens();
    if (record.output_tokens() > 0) {
      first_token.push_back(absl::ToDoubleSeconds(record.first_token()));
    }
    inter_token.insert(inter_token.end(), record.token_seconds().begin(),
                       record.token_seconds().end());
    end_to_end.push_back(absl::ToDoubleSeconds(record.end() - record.start()));
  }
  if (end > start) {
    figures.seconds = absl::ToDoubleSeconds(end - start);
    figures.requests_per_second = figures.completed / figures.seconds;
    const auto output = static_cast<double>(figures.output_tokens);
    const auto prompt = static_cast<double>(figures.prompt_tokens);
    figures.output_tokens_per_second = output / figures.seconds;
    figures.total_tokens_per_second = (output + prompt) / figures.seconds;
  }
  figures.first_token = PercentilesOf(std::move(first_token));
  figures.inter_token = PercentilesOf(std::move(inter_token));
  figures.end_to_end = PercentilesOf(std::move(end_to_end));
  return figures;
}

}  // namespace phalanx
