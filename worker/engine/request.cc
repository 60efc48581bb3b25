#include "worker/engine/request.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace phalanx {
namespace {

absl::Status CheckTokenIds(absl::string_view field, absl::Span<const int32_t> ids, int vocab_size) {
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] >= 0 && ids[i] < vocab_size) continue;
    return absl::InvalidArgumentError(
        absl::StrCat(field, "[", i, "] is ", ids[i], "; must be 0 to ", vocab_size - 1));
  }
  return absl::OkStatus();
}

absl::Status CheckLengths(const GenerationRequest& request, int context_tokens) {
  if (request.prompt_token_ids.empty()) {
    return absl::InvalidArgumentError("prompt_token_ids is empty");
  }
  if (request.score && request.prompt_token_ids.size() < 2) {
    return absl::InvalidArgumentError(
        "prompt_token_ids is one token, which follows nothing: there is nothing to score");
  }
  const int least = request.score ? 0 : 1;
  if (request.max_new_tokens < least) {
    return absl::InvalidArgumentError(
        absl::StrCat("max_new_tokens is ", request.max_new_tokens, "; must be at least ", least));
  }
  const int64_t prompt_tokens = static_cast<int64_t>(request.prompt_token_ids.size());
  if (prompt_tokens + request.max_new_tokens > context_tokens) {
    return absl::InvalidArgumentError(absl::StrCat(
        "prompt_token_ids (", prompt_tokens, " tokens) and max_new_tokens (",
        request.max_new_tokens, ") together exceed the context of ", context_tokens, " tokens"));
  }
  return absl::OkStatus();
}

// Whether a request that has a constraint can have one.
absl::Status CheckConstraintFits(const GenerationRequest& request) {
  if (request.eos_token_ids.empty()) {
    return absl::InvalidArgumentError(
        "constraint needs eos_token_ids: the answer ends by one of them");
  }
  if (request.max_new_tokens == 0) {
    return absl::InvalidArgumentError("constraint is set, and nothing is to be generated");
  }
  if (request.options.min_new_tokens > 0) {
    return absl::InvalidArgumentError(
        "constraint and min_new_tokens cannot be together: both say when the answer may end");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ValidateRequest(const GenerationRequest& request, const EngineRequestLimits& limits) {
  // Update keeps the first error, so the message names the first field that is wrong.
  absl::Status status = CheckLengths(request, limits.context_tokens);
  status.Update(CheckTokenIds("prompt_token_ids", request.prompt_token_ids, limits.vocab_size));
  if (request.eos_token_ids.size() > kMaxEosTokenIds) {
    status.Update(absl::InvalidArgumentError(absl::StrCat(
        "eos_token_ids has ", request.eos_token_ids.size(), " ids; at most ", kMaxEosTokenIds)));
  }
  status.Update(CheckTokenIds("eos_token_ids", request.eos_token_ids, limits.vocab_size));
  status.Update(CheckSampling(request.sampling));
  status.Update(CheckGenerationOptions(request.options, limits.vocab_size, request.max_new_tokens));
  if (request.constraint.has_value()) status.Update(CheckConstraintFits(request));
  if (request.cache_salt.size() > kMaxCacheSaltBytes) {
    status.Update(absl::InvalidArgumentError(absl::StrCat(
        "cache_salt has ", request.cache_salt.size(), " bytes; at most ", kMaxCacheSaltBytes)));
  }
  if (request.priority < kMinPriority || request.priority > kMaxPriority) {
    status.Update(absl::InvalidArgumentError(absl::StrCat(
        "priority is ", request.priority, "; must be ", kMinPriority, " to ", kMaxPriority)));
  }
  if (request.tenant.size() > kMaxTenantBytes) {
    status.Update(absl::InvalidArgumentError(
        absl::StrCat("tenant has ", request.tenant.size(), " bytes; at most ", kMaxTenantBytes)));
  }
  return status;
}

}  // namespace phalanx
