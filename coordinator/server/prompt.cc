#include "coordinator/server/prompt.h"

#include "coordinator/admission/generation_message.h"

namespace phalanx {

namespace {

ChatMessage MessageOf(const v1::Message& message) {
  ChatMessage result{.role = message.role()};
  if (message.has_content()) result.content = message.content();
  for (const v1::ToolCall& call : message.tool_calls()) {
    ToolCall& added = result.tool_calls.emplace_back();
    if (call.has_id()) added.id = call.id();
    added.name = call.name();
    added.arguments_json = call.arguments();
  }
  if (message.has_tool_call_id()) result.tool_call_id = message.tool_call_id();
  if (message.has_name()) result.name = message.name();
  return result;
}

}  // namespace

Conversation ConversationOf(const v1::Chat& chat) {
  Conversation conversation;
  conversation.messages.reserve(chat.messages_size());
  for (const v1::Message& message : chat.messages()) {
    conversation.messages.push_back(MessageOf(message));
  }
  for (const v1::Tool& tool : chat.tools()) {
    Tool& added = conversation.tools.emplace_back();
    added.name = tool.name();
    if (tool.has_description()) added.description = tool.description();
    if (tool.has_parameters()) added.parameters_json = tool.parameters();
  }
  conversation.continue_last_message = chat.continue_last_message();
  if (chat.has_template_arguments()) {
    conversation.template_arguments_json = chat.template_arguments();
  }
  return conversation;
}

v1::Started MakeStarted(const std::string& request_id, const ServingEnvironment& environment,
                        const EngineRequest& request) {
  v1::Started started;
  started.set_request_id(request_id);
  started.set_model(environment.limits.model_name);
  started.set_prompt_tokens(static_cast<int32_t>(request.prompt_token_ids.size()));
  started.set_max_new_tokens(request.max_new_tokens);
  WriteSampling(request.sampling, started.mutable_sampling());
  started.mutable_sampling()->set_seed(request.seed);
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
