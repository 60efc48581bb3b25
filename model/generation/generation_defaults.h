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

// A key of the file and its value, for people: "repetition_penalty", "1.05".
struct UnfollowedDefault {
  std::string key;
  std::string value;

  bool operator==(const UnfollowedDefault&) const = default;
};

struct GenerationDefaults {
  Sampling sampling = {};
  // How many tokens an answer may have if its request does not say; 0 if the file does not say
  // either.
  int max_new_tokens = 0;
  // The same for prompt and answer together. Used if max_new_tokens is 0. 0 if the file does not
  // say.
  int max_length = 0;
  // Tokens that end an answer, as the configuration names them; the tokenizer may know of more.
  // Ascending.
  std::vector<int32_t> eos_token_ids = {};
  // Advice that would change answers, or might, and is not followed. In file order.
  std::vector<UnfollowedDefault> unfollowed = {};
  // The path of the file that gives this advice.
  std::string source = "";
};

// Reads the general.sampling.* keys. What they do not say is as in greedy decoding.
GenerationDefaults ReadGenerationDefaults(const GgufFile& file);

// Reads a parsed generation_config.json, whose path is `path`, as transformers does: greedy unless
// do_sample is true; then temperature 1, top_k 50 and top_p 1 where the file says nothing else.
// top_k and top_p are also used for callers who sample from a model that is greedy by default.
// DATA_LOSS, naming file and key, for values of another type.
absl::StatusOr<GenerationDefaults> ReadGenerationConfig(const JsonValue& config,
                                                        absl::string_view path);

// Does the same with a config.json. Where there is no generation_config.json, transformers takes
// these keys from there. All keys that it does not know are about the network.
absl::StatusOr<GenerationDefaults> ReadGenerationKeysOfConfig(const JsonValue& config,
                                                              absl::string_view path);

// UNIMPLEMENTED, naming the file, the keys and the flag, if there is advice that is not followed.
// Excepted are keys that the operator has accepted (`accepted_keys`).
absl::Status CheckUnfollowed(const GenerationDefaults& defaults,
                             absl::Span<const std::string> accepted_keys);

}  // namespace phalanx

#endif  // PHALANX_MODEL_GENERATION_GENERATION_DEFAULTS_H_
