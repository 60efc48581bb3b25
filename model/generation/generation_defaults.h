// What a model's makers advise for sampling and for the length of answers.
#ifndef PHALANX_MODEL_GENERATION_GENERATION_DEFAULTS_H_
#define PHALANX_MODEL_GENERATION_GENERATION_DEFAULTS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "model/files/gguf.h"
#include "model/files/json.h"
#include "model/generation/sampling.h"

namespace phalanx {

// A key of the file, and its value for people: "repetition_penalty", "1.05".
struct UnfollowedDefault {
  std::string key;
  std::string value;

  bool operator==(const UnfollowedDefault&) const = default;
};

struct GenerationDefaults {
  Sampling sampling = {};
  // How long an answer may be whose request does not say. Tokens of the answer; 0: the file says
  // nothing.
  int max_new_tokens = 0;
  // Tokens of prompt and answer together, heeded if max_new_tokens is 0; 0: the file says nothing.
  int max_length = 0;
  // Tokens that end an answer, as the configuration names them; the tokenizer may know more.
  // Ascending.
  std::vector<int32_t> eos_token_ids = {};
  // Advice that would change answers, or might, and is not followed. In file order.
  std::vector<UnfollowedDefault> unfollowed = {};
  // The file that says all this.
  std::string source = "";
};

// From the general.sampling.* keys, else greedy.
GenerationDefaults ReadGenerationDefaults(const GgufFile& file);

// From a parsed generation_config.json at `path`, as transformers takes it: greedy unless do_sample
// is true; then temperature 1, top_k 50 and top_p 1 where it says nothing else. top_k and top_p are
// also for callers who sample from a model that is greedy by default. DATA_LOSS, naming file and
// key, for values of another type.
absl::StatusOr<GenerationDefaults> ReadGenerationConfig(const JsonValue& config,
                                                        absl::string_view path);

// The same from a config.json: where there is no generation_config.json, transformers takes what it
// knows of these keys from there. All others are the network's.
absl::StatusOr<GenerationDefaults> ReadGenerationKeysOfConfig(const JsonValue& config,
                                                              absl::string_view path);

// UNIMPLEMENTED, naming the file, the keys and the flag, if advice is not followed that is neither
// among `accepted_keys`, the operator's, nor of a kind that is served nevertheless (see
// IsServedThoughNotFollowed).
absl::Status CheckUnfollowed(const GenerationDefaults& defaults,
                             absl::Span<const std::string> accepted_keys);

}  // namespace phalanx

#endif  // PHALANX_MODEL_GENERATION_GENERATION_DEFAULTS_H_
