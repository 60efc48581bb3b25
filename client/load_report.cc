#include "client/load_report.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/json_line.h"

namespace phalanx {
namespace {

std::string PercentilesRow(absl::string_view name, const Percentiles& p) {
  if (p.count == 0) return absl::StrFormat("%-22s %10s\n", name, "-");
  return absl::StrFormat("%-22s %10.1f %10.1f %10.1f %10.1f %10.1f\n", name, p.mean * 1e3,
                         p.p50 * 1e3, p.p90 * 1e3, p.p99 * 1e3, p.most * 1e3);
}

Json PercentilesJson(const Percentiles& p) {
  return {{"count", p.count}, {"mean", p.mean}, {"p50", p.p50},
          {"p90", p.p90},     {"p99", p.p99},   {"max", p.most}};
}

Json RangeJson(const LengthRange& range) { return {{"min", range.least}, {"max", range.most}}; }

}  // namespace

absl::string_view BenchJsonHelp() {
  return "--json writes one object: target, model, concurrency, requests, rate, seed,\n"
         "prompt_tokens and output_tokens (min, max), interrupted, completed, failed, cancelled,\n"
         "errors (by code), duration_seconds, requests_per_second, output_tokens_per_second,\n"
         "total_tokens_per_second, and count, mean, p50, p90, p99, max of\n"
         "time_to_first_token_seconds, inter_token_seconds and end_to_end_seconds.\n"
         "Times are of requests that completed. Of tokens that came together, each has an equal\n"
         "part of the time since those before.";
}

std::string ProgressLine(const LoadProgress& progress, int requests) {
  const double seconds = absl::ToDoubleSeconds(progress.elapsed);
  const double rate = seconds > 0 ? static_cast<double>(progress.output_tokens) / seconds : 0;
  return absl::StrFormat("%d of %d done, %d running, %d failed, %.1f tokens/s, %.0f s",
                         progress.ended, requests, progress.running, progress.failed, rate,
                         seconds);
}

std::string LoadTable(const LoadSetting& setting, const LoadFigures& figures) {
  const LoadOptions& options = setting.options;
  std::string text = absl::StrFormat(
      "%s at %s: %d requests, %d at once%s, prompts of %s tokens, answers of %s\n", setting.model,
      setting.target, options.requests, options.concurrency,
      options.rate > 0 ? absl::StrFormat(", %g a second", options.rate) : "",
      LengthRangeText(options.prompt_tokens), LengthRangeText(options.output_tokens));
  absl::StrAppendFormat(&text, "%d completed, %d failed%s\n", figures.completed, figures.failed(),
                        setting.interrupted
                            ? absl::StrCat(", interrupted with ", figures.cancelled, " running")
                            : "");
  for (const auto& [code, count] : figures.errors) {
    absl::StrAppendFormat(&text, "  %d %s: %s\n", count, code, figures.first_messages.at(code));
  }
  if (figures.completed == 0) return text;
  absl::StrAppendFormat(&text, "\n%-22s %10.2f s\n", "duration", figures.seconds);
  absl::StrAppendFormat(&text, "%-22s %10.2f /s\n", "requests", figures.requests_per_second);
  absl::StrAppendFormat(&text, "%-22s %10.1f /s\n", "generated tokens",
                        figures.output_tokens_per_second);
  absl::StrAppendFormat(&text, "%-22s %10.1f /s\n\n", "with prompt tokens",
                        figures.total_tokens_per_second);
  absl::StrAppendFormat(&text, "%-22s %10s %10s %10s %10s %10s\n", "milliseconds", "mean", "p50",
                        "p90", "p99", "max");
  absl::StrAppend(&text, PercentilesRow("time to first token", figures.first_token),
                  PercentilesRow("between tokens", figures.inter_token),
                  PercentilesRow("whole request", figures.end_to_end));
  return text;
}

std::string LoadJson(const LoadSetting& setting, const LoadFigures& figures) {
  const LoadOptions& options = setting.options;
  Json json = {{"target", setting.target},
               {"model", setting.model},
               {"concurrency", options.concurrency},
               {"requests", options.requests},
               {"rate", options.rate},
               // As a string, because a JSON reader that keeps numbers as doubles would round it.
               {"seed", absl::StrCat(options.seed)},
               {"prompt_tokens", RangeJson(options.prompt_tokens)},
               {"output_tokens", RangeJson(options.output_tokens)},
               {"interrupted", setting.interrupted},
               {"completed", figures.completed},
               {"failed", figures.failed()},
               {"cancelled", figures.cancelled},
               {"errors", figures.errors},
               {"duration_seconds", figures.seconds},
               {"requests_per_second", figures.requests_per_second},
               {"output_tokens_per_second", figures.output_tokens_per_second},
               {"total_tokens_per_second", figures.total_tokens_per_second},
               {"time_to_first_token_seconds", PercentilesJson(figures.first_token)},
               {"inter_token_seconds", PercentilesJson(figures.inter_token)},
               {"end_to_end_seconds", PercentilesJson(figures.end_to_end)}};
  return absl::StrCat(json.dump(/*indent=*/2, /*indent_char=*/' ', /*ensure_ascii=*/false,
                                Json::error_handler_t::replace),
                      "\n");
}

}  // namespace phalanx
