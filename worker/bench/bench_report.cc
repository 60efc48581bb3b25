#include "worker/bench/bench_report.h"

#include <fstream>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace phalanx {
namespace {

using Json = nlohmann::ordered_json;

// Bytes read in percent of what plain reads reach; 0 if either is not known.
double PercentOfReads(const BenchResult& result, const BenchSetting& setting) {
  const double ceiling = setting.ceilings.read_gb_per_s;
  return ceiling > 0 ? 100 * result.gb_per_second() / ceiling : 0;
}

}  // namespace

std::string ProcessorName() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const size_t colon = line.find(':');
    if (absl::StartsWith(line, "model name") && colon != std::string::npos) {
      return std::string(absl::StripAsciiWhitespace(line.substr(colon + 1)));
    }
  }
  return "unknown";
}

std::string DescribeSetting(const BenchSetting& setting) {
  std::string text = absl::StrFormat(
      "%s on %s, %s; %d rank%s of %d thread%s\n"
      "weights read in a step %.3f GB, a token's keys and values %.1f KB, KV cache %d tokens\n",
      setting.model, setting.processor, setting.backend, setting.ranks,
      setting.ranks == 1 ? "" : "s", setting.threads, setting.threads == 1 ? "" : "s",
      setting.weight_bytes * 1e-9, setting.kv_bytes_per_token * 1e-3, setting.kv_cache_tokens);
  if (setting.ceilings.read_gb_per_s > 0) {
    absl::StrAppendFormat(&text,
                          "ceilings of the same threads: %.1f GB/s read, %.0f GFLOP/s float32\n",
                          setting.ceilings.read_gb_per_s, setting.ceilings.fma_gflop_per_s);
  }
  return text;
}

std::string TableHead() {
  return absl::StrFormat("%-9s %9s %7s %10s %10s %18s %7s %8s", "case", "sequences", "tokens",
                         "tok/s", "ms", "least to most ms", "GB/s", "of read");
}

std::string TableLine(const BenchResult& result, const BenchSetting& setting) {
  const BenchCase& bench_case = result.bench_case;
  std::string line = absl::StrFormat("%-9s %9d %7d ", KindName(bench_case.kind), bench_case.batch,
                                     bench_case.depth);
  if (!result.skipped.empty()) return absl::StrCat(line, "  not measured: ", result.skipped);
  absl::StrAppendFormat(
      &line, "%10.1f %10.2f %18s", result.tokens_per_second(), result.median_seconds() * 1e3,
      absl::StrFormat("%.2f to %.2f", result.seconds.front() * 1e3, result.seconds.back() * 1e3));
  if (result.bench_case.kind == BenchCase::Kind::kMixed) {
    absl::StrAppendFormat(&line, "  p99 between tokens: %.2f full steps; %.2f of unmixed",
                          result.gap_in_steps, result.of_unmixed);
  }
  if (result.bytes > 0) {
    absl::StrAppendFormat(&line, " %7.1f", result.gb_per_second());
    const double percent = PercentOfReads(result, setting);
    if (percent > 0) absl::StrAppendFormat(&line, " %6.0f %%", percent);
  }
  return line;
}

Json SettingJson(const BenchSetting& setting) {
  return {{"model", setting.model},
          {"backend", setting.backend},
          {"processor", setting.processor},
          {"ranks", setting.ranks},
          {"threads", setting.threads},
          {"weight_bytes", setting.weight_bytes},
          {"kv_bytes_per_token", setting.kv_bytes_per_token},
          {"kv_cache_tokens", setting.kv_cache_tokens},
          {"prompts_computed", setting.prompts_computed},
          {"read_gb_per_s", setting.ceilings.read_gb_per_s},
          {"fma_gflop_per_s", setting.ceilings.fma_gflop_per_s}};
}

Json ResultJson(const BenchResult& result, const BenchSetting& setting) {
  const BenchCase& bench_case = result.bench_case;
  Json json = {{"case", KindName(bench_case.kind)},
               {"sequences", bench_case.batch},
               {"tokens", bench_case.depth}};
  if (!result.skipped.empty()) {
    json["skipped"] = result.skipped;
    return json;
  }
  json["tokens_per_second"] = result.tokens_per_second();
  json["seconds"] = result.seconds;
  if (bench_case.kind == BenchCase::Kind::kMixed) {
    json["gap_p99_in_steps"] = result.gap_in_steps;
    json["of_unmixed"] = result.of_unmixed;
  }
  if (result.bytes > 0) {
    json["gb_per_second"] = result.gb_per_second();
    const double percent = PercentOfReads(result, setting);
    if (percent > 0) json["percent_of_read"] = percent;
  }
  return json;
}

}  // namespace phalanx
