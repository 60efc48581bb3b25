// Which requests `phalanx bench` sends, and when: the same for the same seed.
#ifndef PHALANX_CLIENT_LOAD_PLAN_H_
#define PHALANX_CLIENT_LOAD_PLAN_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"

namespace phalanx {

// Both ends belong to it.
struct LengthRange {
  int least = 0;
  int most = 0;

  bool operator==(const LengthRange&) const = default;
};

// Reads "128" or "64-256": numbers from 1 on. False if it is neither.
bool ParseLengthRange(const std::string& text, LengthRange* range);
// The reverse.
std::string LengthRangeText(const LengthRange& range);

struct LoadOptions {
  int requests = 64;
  int concurrency = 8;
  int warmup = 1;  // Requests before those that count.
  LengthRange prompt_tokens = {128, 128};
  LengthRange output_tokens = {128, 128};
  // Requests a second on average, at random intervals as if many people asked; 0: each as soon as
  // another one has ended.
  double rate = 0;
  uint64_t seed = 1;
};

struct PlannedRequest {
  std::vector<int32_t> prompt_token_ids;
  int max_new_tokens = 0;
  // When it is to be sent, counted from the start; zero without a rate.
  absl::Duration due;
};

// The requests that count, after options.warmup others, which are due at once. Prompts differ from
// their first token on as a rule, so that nothing can be shared between them. `vocab` is the number
// of token ids.
std::vector<PlannedRequest> PlanLoad(const LoadOptions& options, int vocab);

}  // namespace phalanx

#endif  // PHALANX_CLIENT_LOAD_PLAN_H_
