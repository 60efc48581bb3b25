// What all calls share.
#ifndef PHALANX_COORDINATOR_SERVER_SERVING_ENVIRONMENT_H_
#define PHALANX_COORDINATOR_SERVER_SERVING_ENVIRONMENT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "base/clock.h"
#include "coordinator/admission/limits.h"
#include "coordinator/admission/request_gate.h"
#include "coordinator/routing/group_registry.h"
#include "coordinator/server/coordinator_metrics.h"
#include "coordinator/server/text_pool.h"
#include "coordinator/server/text_service.h"
#include "coordinator/text/answer/tool_call_format.h"
#include "model/generation/generation_defaults.h"
#include "model/spec/long_rope.h"

namespace phalanx {

// The model as clients see it.
struct ServedModel {
  std::string architecture;
  std::vector<int32_t> eos_token_ids;
  GenerationDefaults defaults;
  // Whether its answers are expected to begin with reasoning.
  bool reasons = false;
  // Whether its chat template takes tools.
  bool supports_tools = false;
  // Whether its tokenizer has a bos token.
  bool has_bos_token = false;
  // How it writes tool calls, if that is known.
  std::optional<ToolCallFormat> tool_call_format = std::nullopt;
  // As FindNamedMarks has it.
  std::vector<std::string> named_tool_marks = {};
  // The number of tokens beyond which LongRoPE uses its other list; 0 for models with one list.
  int original_context_tokens = 0;
  LongRopePolicy long_rope_policy = kDefaultLongRopePolicy;
};

struct AnswerLimits {
  // A request ends if its client takes nothing for this long.
  absl::Duration stall_timeout = absl::Seconds(60);
  // A request ends if its client leaves more than this of its answer unread.
  int64_t max_buffered_bytes = int64_t{1} << 20;
};

// What the server tells of itself.
struct ServerFacts {
  std::string version = "";
  std::string model_fingerprint = "";
  int max_requests = 0;
  int max_queued_texts = 0;
};

// Lent to every call; outlives them all.
struct ServingEnvironment {
  RequestLimits limits;
  ServedModel model;
  AnswerLimits answer;
  ServerFacts server;
  const Clock* clock = nullptr;
  const TextService* text = nullptr;
  TextPool* text_pool = nullptr;
  RequestGate* gate = nullptr;
  GroupRegistry* groups = nullptr;
  CoordinatorMetrics* metrics = nullptr;
};

// The limits with the context that worker groups have now, where that is smaller than the model's.
inline RequestLimits CurrentLimits(const ServingEnvironment& environment) {
  RequestLimits limits = environment.limits;
  const int serving = environment.groups->ServingContextTokens();
  if (serving > 0 && serving < limits.context_tokens) limits.context_tokens = serving;
  return limits;
}

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_SERVER_SERVING_ENVIRONMENT_H_
