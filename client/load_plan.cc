#include "client/load_plan.h"

#include <cmath>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace phalanx {
namespace {

constexpr int kMostTokens = 1 << 24;

// Splitmix64: unlike the distributions of the standard library, the same on every system.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  // In [0, end).
  int Below(int end) { return static_cast<int>(Next() % static_cast<uint64_t>(end)); }
  int In(const LengthRange& range) { return range.least + Below(range.most - range.least + 1); }
  // In (0, 1].
  double Unit() { return (static_cast<double>(Next() >> 11) + 1) * 0x1p-53; }

 private:
  uint64_t Next() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }

  uint64_t state_;
};

}  // namespace

bool ParseLengthRange(const std::string& text, LengthRange* range) {
  const std::vector<std::string> ends = absl::StrSplit(text, '-');
  LengthRange read;
  if (ends.size() > 2 || !absl::SimpleAtoi(ends.front(), &read.least) ||
      !absl::SimpleAtoi(ends.back(), &read.most)) {
    return false;
  }
  if (read.least < 1 || read.most < read.least || read.most > kMostTokens) return false;
  *range = read;
  return true;
}

std::string LengthRangeText(const LengthRange& range) {
  if (range.least == range.most) return absl::StrCat(range.least);
  return absl::StrCat(range.least, "-", range.most);
}

std::vector<PlannedRequest> PlanLoad(const LoadOptions& options, int vocab) {
  Random random(options.seed);
  std::vector<PlannedRequest> plan(static_cast<size_t>(options.warmup + options.requests));
  absl::Duration due = absl::ZeroDuration();
  for (size_t i = 0; i < plan.size(); ++i) {
    PlannedRequest& request = plan[i];
    const int tokens = random.In(options.prompt_tokens);
    for (int token = 0; token < tokens; ++token) {
      request.prompt_token_ids.push_back(random.Below(vocab));
    }
    request.max_new_tokens = random.In(options.output_tokens);
    // An exponential interval, whatever came before: requests that know nothing of each other.
    const double interval = -std::log(random.Unit());
    if (options.rate <= 0 || i < static_cast<size_t>(options.warmup)) continue;
    request.due = due;
    due += absl::Seconds(interval / options.rate);
  }
  return plan;
}

}  // namespace phalanx
