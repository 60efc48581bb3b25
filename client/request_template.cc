#include "client/request_template.h"

namespace phalanx {
namespace {

// A tool of the name of a mode can only be chosen by other clients.
void SetToolChoice(const std::string& choice, v1::GenerateRequest* request) {
  v1::ToolChoice& tool_choice = *request->mutable_tool_choice();
  if (choice == "none") {
    tool_choice.set_mode(v1::ToolChoice::MODE_NONE);
  } else if (choice == "auto") {
    tool_choice.set_mode(v1::ToolChoice::MODE_AUTO);
  } else if (choice == "required") {
    tool_choice.set_mode(v1::ToolChoice::MODE_REQUIRED);
  } else {
    tool_choice.set_name(choice);
  }
}

}  // namespace

v1::GenerateRequest RequestTemplate(const CommandLine& line) {
  v1::GenerateRequest request;
  if (line.model.has_value()) request.set_model(*line.model);
  if (line.allow_special) request.set_allow_special(true);
  request.mutable_stop()->Add(line.stop.begin(), line.stop.end());
  request.mutable_stop_token_ids()->Add(line.stop_token_ids.begin(), line.stop_token_ids.end());
  if (line.min_new_tokens.has_value()) request.set_min_new_tokens(*line.min_new_tokens);
  if (line.log_probs.has_value()) request.mutable_log_probs()->set_top(*line.log_probs);
  if (line.prompt_log_probs) request.mutable_log_probs()->set_prompt(true);
  if (line.repetitions.has_value())
    request.mutable_repetition_limit()->set_times(*line.repetitions);
  if (line.speculation.has_value()) {
    request.mutable_speculation()->set_max_draft_tokens(*line.speculation);
  }
  if (line.stream_interval.has_value()) request.set_stream_interval(*line.stream_interval);
  if (line.n.has_value()) request.set_n(*line.n);
  if (line.add_bos.has_value()) request.set_add_bos(*line.add_bos);
  if (line.cache_salt.has_value()) request.set_cache_salt(*line.cache_salt);
  if (line.priority.has_value()) request.set_priority(*line.priority);
  if (line.tenant.has_value()) request.set_tenant(*line.tenant);
  if (line.reasoning == ReasoningMode::kInline) request.mutable_reasoning()->set_split(false);
  if (line.max_reasoning_tokens.has_value()) {
    request.mutable_reasoning()->set_max_tokens(*line.max_reasoning_tokens);
  }
  if (line.max_new_tokens.has_value()) request.set_max_new_tokens(*line.max_new_tokens);
  *request.mutable_sampling() = line.sampling;
  if (line.parse_tool_calls) request.set_parse_tool_calls(true);
  if (line.tool_choice.has_value()) SetToolChoice(*line.tool_choice, &request);
  return request;
}

v1::Chat NewConversation(const CommandLine& line) {
  v1::Chat chat;
  if (line.system.has_value()) AddMessage("system", *line.system, &chat);
  if (line.template_args.has_value()) chat.set_template_arguments(*line.template_args);
  return chat;
}

void AddQuestion(const CommandLine& line, const std::string& text, v1::Chat* chat) {
  AddMessage("user", text, chat);
  if (!line.continue_text.has_value()) return;
  AddMessage("assistant", *line.continue_text, chat);
  chat->set_continue_last_message(true);
}

void AddMessage(const std::string& role, const std::string& content, v1::Chat* chat) {
  v1::Message* const message = chat->add_messages();
  message->set_role(role);
  message->set_content(content);
}

}  // namespace phalanx
