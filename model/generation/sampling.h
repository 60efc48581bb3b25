// How the next token is chosen: every parameter with its range and its default, in one place.
#ifndef PHALANX_MODEL_GENERATION_SAMPLING_H_
#define PHALANX_MODEL_GENERATION_SAMPLING_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace phalanx {

// What is known of a parameter beside its value.
struct SamplingParameter {
  // Its name in phalanx.v1.Sampling, in phalanx.worker.v1.Submit, as a flag of the client, and in
  // generation_config.json.
  absl::string_view name;
  // Its name after "general.sampling." in a GGUF file; empty if these files have none.
  absl::string_view gguf_name;
  // The range of its values. `least` itself belongs to it only if `allows_least`.
  double least = 0;
  double most = 0;
  bool allows_least = true;
  // What it does, for the help of the flag.
  absl::string_view help;
  // What 0 stands for; empty if 0 means nothing special.
  absl::string_view zero_means;
};

inline constexpr SamplingParameter kTemperature = {
    .name = "temperature",
    .gguf_name = "temp",
    .least = 0,
    .most = 100,
    .help = "Divides the logits before a token is drawn",
    .zero_means = "the likeliest token",
};
inline constexpr SamplingParameter kTopK = {
    .name = "top_k",
    .gguf_name = "top_k",
    .least = 0,
    .most = 2147483647,
    .help = "Keep the k likeliest tokens",
    .zero_means = "all",
};
inline constexpr SamplingParameter kTopP = {
    .name = "top_p",
    .gguf_name = "top_p",
    .least = 0,
    .most = 1,
    .allows_least = false,
    .help = "Keep the likeliest tokens that reach this probability together",
    .zero_means = "",
};

inline constexpr SamplingParameter kMinP = {
    .name = "min_p",
    .gguf_name = "min_p",
    .least = 0,
    .most = 1,
    .help = "Keep the tokens that are at least this part as likely as the likeliest",
    .zero_means = "all",
};
inline constexpr SamplingParameter kTypicalP = {
    .name = "typical_p",
    .gguf_name = "",
    .least = 0,
    .most = 1,
    .allows_least = false,
    .help = "Keep the tokens of the most typical information that reach this probability together",
    .zero_means = "",
};
inline constexpr SamplingParameter kRepetitionPenalty = {
    .name = "repetition_penalty",
    .gguf_name = "penalty_repeat",
    .least = 0,
    .most = 100,
    .allows_least = false,
    .help = "Makes tokens of the prompt and the answer so far less likely if above 1",
    .zero_means = "",
};
inline constexpr SamplingParameter kPresencePenalty = {
    .name = "presence_penalty",
    .gguf_name = "",
    .least = -2,
    .most = 2,
    .help = "Taken off the logits of tokens that the answer has so far",
    .zero_means = "",
};
inline constexpr SamplingParameter kFrequencyPenalty = {
    .name = "frequency_penalty",
    .gguf_name = "",
    .least = -2,
    .most = 2,
    .help = "Taken off the logit of a token for each time that the answer has it so far",
    .zero_means = "",
};

// Every parameter, with the value that it has if neither the caller nor the model says another one.
// Their meaning is in phalanx/v1/inference.proto, their arithmetic in docs/sampling.md.
struct Sampling {
  float temperature = 0.0f;
  int32_t top_k = 0;
  float top_p = 1.0f;
  float min_p = 0.0f;
  float typical_p = 1.0f;
  float repetition_penalty = 1.0f;
  float presence_penalty = 0.0f;
  float frequency_penalty = 0.0f;

  bool operator==(const Sampling&) const = default;
};

// Calls visit(parameter, value) for each parameter of `sampling`, a Sampling or const Sampling. A
// new parameter is added to this list, and is then read, checked, sent and printed everywhere.
template <typename S, typename Visitor>
void VisitSampling(S& sampling, Visitor&& visit) {
  visit(kTemperature, sampling.temperature);
  visit(kTopK, sampling.top_k);
  visit(kTopP, sampling.top_p);
  visit(kMinP, sampling.min_p);
  visit(kTypicalP, sampling.typical_p);
  visit(kRepetitionPenalty, sampling.repetition_penalty);
  visit(kPresencePenalty, sampling.presence_penalty);
  visit(kFrequencyPenalty, sampling.frequency_penalty);
}

// INVALID_ARGUMENT for the first value outside of its range, NaN too, as "NAME: 101 is not in
// [0, 100]" with `prefix` before the name.
absl::Status CheckSampling(const Sampling& sampling, absl::string_view prefix = "");

// Whether `number` is in the parameter's range and a value of the parameter's type; then `value` is
// set to it.
bool SetIfAllowed(const SamplingParameter& parameter, double number, float* value);
bool SetIfAllowed(const SamplingParameter& parameter, double number, int32_t* value);

}  // namespace phalanx

#endif  // PHALANX_MODEL_GENERATION_SAMPLING_H_
