// What the `phalanx` command prints: lines of JSON for machines, tables for people.
#ifndef PHALANX_CLIENT_FORMAT_H_
#define PHALANX_CLIENT_FORMAT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "client/inference_client.h"
#include "phalanx/v1/inference.pb.h"

namespace phalanx {

// The text for the help about the JSON lines of `generate --json`.
absl::string_view GenerateJsonHelp();

// Each of these is one JSON object without a newline at its end. Field names are those of the
// .proto file; 64-bit numbers that a double cannot hold are strings.
std::string EventJson(const v1::GenerateEvent& event);
std::string ErrorJson(const absl::Status& status);
std::string ModelJson(const v1::Model& model);
// `pieces` has the text of each token, or its bytes. The places are told if the server gave them.
std::string TokensJson(const v1::TokenizeResponse& tokens, const std::vector<std::string>& pieces);
std::string HealthJson(absl::string_view service, ServingState state);

// "SERVING", "NOT_SERVING" or "SERVICE_UNKNOWN".
absl::string_view ServingStateName(ServingState state);

// Columns with a heading, one model a line.
std::string ModelTable(const v1::ListModelsResponse& models);

// "  198  "\n"": an id and its text as a JSON string, one token a line; with its place between
// them, "  198       3-4  "\n"", if the server gave it.
std::string TokenTable(const v1::TokenizeResponse& tokens, const std::vector<std::string>& pieces);

struct PerplexityResult {
  std::string model;
  // The number of tokens that were scored.
  int64_t tokens = 0;
  double nats_per_token = 0.0;
  double perplexity = 0.0;
  int32_t window_tokens = 0;
  int32_t stride_tokens = 0;
};

// One JSON object without a newline at its end.
std::string PerplexityJson(const PerplexityResult& result);

// "perplexity 12.3456, 8123 tokens, 2.5133 nats a token (windows of 1024, stride 512)\n".
std::string PerplexityLine(const PerplexityResult& result);

// The course of an answer as the client saw it.
struct StreamStats {
  int prompt_tokens = 0;
  int completion_tokens = 0;
  int drafted_tokens = 0;
  int accepted_tokens = 0;
  // From the start of the call to the first token, and from there to the last.
  absl::Duration time_to_first_token;
  absl::Duration decode_time;
};

// "12 prompt tokens, 34 generated, first after 85 ms, then 41.2 tokens/s\n", and before the end
// ", 20 of 25 guesses right" if tokens were guessed.
std::string StatsLine(const StreamStats& stats);

}  // namespace phalanx

#endif  // PHALANX_CLIENT_FORMAT_H_
