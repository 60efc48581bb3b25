// What the engine bench measures, and what comes of it.
#ifndef PHALANX_WORKER_BENCH_BENCH_CASE_H_
#define PHALANX_WORKER_BENCH_BENCH_CASE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace phalanx {

struct BenchCase {
  enum class Kind {
    kPrefill,    // One prompt, alone, until its first token is there.
    kDecode,     // Sequences that all decode at once, a token each in a step.
    kSaturated,  // More requests than can run at once, prompts and answers mixed.
    kMixed,      // Sequences that decode while long prompts come, one after the other.
  };
  Kind kind = Kind::kDecode;
  int batch = 1;    // Sequences at once; 1 for a prefill.
  int depth = 0;    // Tokens of each prompt; for a decode, of those before the first that is drawn.
  int prompts = 0;  // Of kMixed: how many come.
  int steps = 1;    // Of a decode, in one measurement.
  int answer = 0;   // Mean length of the answers of kSaturated, in tokens.
  int seconds = 0;  // Length of kSaturated.
  int repeats = 1;  // How often it is measured; the median counts.

  bool operator==(const BenchCase&) const = default;
};

// Steps that a decode makes before it is measured.
inline constexpr int kWarmSteps = 4;

// Tokens that each answer of a decode may have. While prompts are taken in one after the other, in
// steps of `step_tokens`, the sequences before draw tokens already.
int AnswerTokens(const BenchCase& bench_case, int step_tokens);

// Tokens of the KV cache that it takes: of the longest sequence, and of all together.
int ContextTokens(const BenchCase& bench_case, int step_tokens);
int64_t KvTokens(const BenchCase& bench_case, int step_tokens);

// "prefill", "decode", "saturated" or "mixed".
const char* KindName(BenchCase::Kind kind);

// A case as a line: "prefill TOKENS", or "decode SEQUENCES DEPTH STEPS". INVALID_ARGUMENT, quoting
// the line.
absl::StatusOr<BenchCase> ParseBenchCase(absl::string_view line);

struct BenchResult {
  BenchCase bench_case;
  // Why it was not measured; empty if it was.
  std::string skipped;
  // Seconds of a prefill, of one step of a decode, or of kSaturated: of each repeat, ascending.
  std::vector<double> seconds;
  // Tokens that were computed (prefill) or drawn in each of `seconds`.
  double tokens = 0;
  // What a step reads from memory at least: all weights, and the keys and values of all sequences.
  // 0 if a rate of it would say nothing, as in a prefill.
  double bytes = 0;
  // Of kMixed, medians: the 99th percentile of the time between two tokens of a sequence, in steps
  // that are full of one prompt, and the throughput in parts of what it would be if the same
  // prompts and tokens had been computed apart.
  double gap_in_steps = 0;
  double of_unmixed = 0;

  double median_seconds() const;
  double tokens_per_second() const { return tokens / median_seconds(); }
  double gb_per_second() const { return bytes / median_seconds() * 1e-9; }
};

// `values` is not empty.
double Median(absl::Span<const double> values);

}  // namespace phalanx

#endif  // PHALANX_WORKER_BENCH_BENCH_CASE_H_
