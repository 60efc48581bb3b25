#include "coordinator/server/prompt.h"

namespace phalanx {

std::vector<ChatTurn> TurnsOf(const v1::Chat& chat) {
  std::vector<ChatTurn> turns;
  turns.reserve(chat.messages_size());
  for (const v1::Message& message : chat.messages()) {
    turns.push_back({message.role(), message.content()});
  }
  return turns;
}

v1::Started MakeStarted(const std::string& request_id, const ServingEnvironment& environment,
                        const EngineRequest& request) {
  v1::Started started;
  started.set_request_id(request_id);
  started.set_model(environment.limits.model_name);
  started.set_prompt_tokens(static_cast<int32_t>(request.prompt_token_ids.size()));
  started.set_max_new_tokens(request.max_new_tokens);
  v1::Sampling& sampling = *started.mutable_sampling();
  sampling.set_temperature(request.temperature);
  sampling.set_top_k(request.top_k);
  sampling.set_top_p(request.top_p);
  sampling.set_seed(request.seed);
  const ServedModel& model = environment.model;
  if (model.original_context_tokens > 0) {
    *started.mutable_long_rope() = MakeLongRope(model);
    const RopePlan plan =
        PlanRope(request.long_rope_policy, model.original_context_tokens,
                 static_cast<int>(request.prompt_token_ids.size()), request.max_new_tokens);
    started.mutable_long_rope()->set_long_from_start(plan.list == kLongRopeList);
  }
  return started;
}

v1::LongRope MakeLongRope(const ServedModel& model) {
  v1::LongRope long_rope;
  long_rope.set_policy(model.long_rope_policy == LongRopePolicy::kReference
                           ? v1::LONG_ROPE_POLICY_REFERENCE
                           : v1::LONG_ROPE_POLICY_ADMISSION);
  long_rope.set_original_context_tokens(model.original_context_tokens);
  return long_rope;
}

}  // namespace phalanx
