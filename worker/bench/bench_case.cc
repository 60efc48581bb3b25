#include "worker/bench/bench_case.h"

#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "kernels/step_batch.h"

namespace phalanx {
namespace {

constexpr int kMostTokens = 1 << 24;
// The engine plans so many steps before the tokens of the one before are there.
constexpr int kStepsAhead = 2;

// The numbers behind the first word, which must be `count` numbers within [0, kMostTokens].
bool ReadNumbers(absl::Span<const absl::string_view> words, size_t count,
                 std::vector<int>* numbers) {
  if (words.size() != count + 1) return false;
  for (const absl::string_view word : words.subspan(1)) {
    int number = 0;
    if (!absl::SimpleAtoi(word, &number) || number < 0 || number > kMostTokens) return false;
    numbers->push_back(number);
  }
  return true;
}

}  // namespace

int AnswerTokens(const BenchCase& bench_case, int step_tokens) {
  switch (bench_case.kind) {
    case BenchCase::Kind::kPrefill:
      return 1;
    case BenchCase::Kind::kDecode: {
      const int prompt_steps = (bench_case.depth + step_tokens - 1) / step_tokens + 1;
      return bench_case.batch * prompt_steps + kWarmSteps + bench_case.steps * bench_case.repeats +
             kStepsAhead;
    }
    case BenchCase::Kind::kSaturated:
      return 2 * bench_case.answer;
    case BenchCase::Kind::kMixed: {
      // A sequence draws a token in each step that computes the prompts.
      const int prompt_tokens = std::max(1, step_tokens - bench_case.batch);
      return bench_case.prompts * (bench_case.depth / prompt_tokens + 2) + 4 * bench_case.batch +
             kWarmSteps + kStepsAhead;
    }
  }
  return 0;
}

int ContextTokens(const BenchCase& bench_case, int step_tokens) {
  // A prompt has a token at least.
  return std::max(bench_case.depth, 1) + AnswerTokens(bench_case, step_tokens);
}

int64_t KvTokens(const BenchCase& bench_case, int step_tokens) {
  constexpr int kBlock = kernels::kKvBlockTokens;
  const int blocks = (ContextTokens(bench_case, step_tokens) + kBlock - 1) / kBlock;
  // A prompt of kMixed is one more, and leaves a block to each of the others.
  const int more = bench_case.kind == BenchCase::Kind::kMixed ? 2 : 0;
  return int64_t{bench_case.batch + more} * blocks * kBlock;
}

const char* KindName(BenchCase::Kind kind) {
  switch (kind) {
    case BenchCase::Kind::kPrefill:
      return "prefill";
    case BenchCase::Kind::kDecode:
      return "decode";
    case BenchCase::Kind::kSaturated:
      return "saturated";
    case BenchCase::Kind::kMixed:
      return "mixed";
  }
  return "";
}

absl::StatusOr<BenchCase> ParseBenchCase(absl::string_view line) {
  const std::vector<absl::string_view> words = absl::StrSplit(line, ' ', absl::SkipEmpty());
  std::vector<int> numbers;
  BenchCase result;
  if (!words.empty() && words[0] == "prefill" && ReadNumbers(words, 1, &numbers) &&
      numbers[0] > 0) {
    result.kind = BenchCase::Kind::kPrefill;
    result.depth = numbers[0];
    return result;
  }
  if (!words.empty() && words[0] == "decode" && ReadNumbers(words, 3, &numbers) && numbers[0] > 0 &&
      numbers[2] > 0) {
    result.batch = numbers[0];
    result.depth = numbers[1];
    result.steps = numbers[2];
    return result;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("'", line, "' is neither 'prefill TOKENS' nor 'decode SEQUENCES DEPTH STEPS'"));
}

double BenchResult::median_seconds() const { return Median(seconds); }

double Median(absl::Span<const double> values) {
  std::vector<double> sorted(values.begin(), values.end());
  std::sort(sorted.begin(), sorted.end());
  const size_t middle = sorted.size() / 2;
  return sorted.size() % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

}  // namespace phalanx
