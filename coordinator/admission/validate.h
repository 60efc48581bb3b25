// Checks every field of every public request, for all front ends alike.
//
// Errors are INVALID_ARGUMENT and start with the path of the field, then say what is allowed:
// "sampling.temperature: 101 is not in [0, 100]". An unknown model is NOT_FOUND. Each is noted as a
// refusal of its kind (refusal.h). Nothing here
// allocates in proportion to a value that has not been checked. Thread-safe.
#ifndef PHALANX_COORDINATOR_ADMISSION_VALIDATE_H_
#define PHALANX_COORDINATOR_ADMISSION_VALIDATE_H_

#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/admission/limits.h"
#include "phalanx/v1/inference.pb.h"

namespace phalanx {

// Checks everything that can be checked without tokenizing.
absl::Status ValidateGenerate(const v1::GenerateRequest& request, const RequestLimits& limits);

// Checks what ValidateGenerate cannot, because the prompt has to be tokenized first: whether it has
// tokens, and leaves room for an answer.
absl::Status CheckPromptLength(int64_t prompt_tokens, const RequestLimits& limits);

// Returns max_new_tokens, with its default if it was not set, for a prompt that CheckPromptLength
// lets pass. An error if more are asked for than the context has room for after the prompt, or if
// the default leaves none.
absl::StatusOr<int> ResolveMaxNewTokens(int64_t prompt_tokens,
                                        std::optional<int32_t> max_new_tokens,
                                        const RequestLimits& limits);

// Checks min_new_tokens, which 0 stands for if it was not set, against what ResolveMaxNewTokens
// returned.
absl::Status CheckMinNewTokens(int32_t min_new_tokens, int max_new_tokens);

absl::Status ValidateScore(const v1::ScoreRequest& request, const RequestLimits& limits);
// Checks what ValidateScore cannot, because the input has to be tokenized first: whether it fits.
absl::Status CheckScoreTokens(int64_t num_tokens, const RequestLimits& limits);

absl::Status ValidateTokenize(const v1::TokenizeRequest& request, const RequestLimits& limits);
absl::Status ValidateDetokenize(const v1::DetokenizeRequest& request, const RequestLimits& limits);
absl::Status ValidateGetModel(const v1::GetModelRequest& request, const RequestLimits& limits);

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_ADMISSION_VALIDATE_H_
