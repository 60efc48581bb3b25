// The part of command_line.h that makes requests.
#include "client/command_line.h"

namespace phalanx {

v1::GenerateRequest RequestTemplate(const CommandLine& line) {
  v1::GenerateRequest request;
  if (line.model.has_value()) request.set_model(*line.model);
  if (line.allow_special) request.set_allow_special(true);
  request.mutable_stop()->Add(line.stop.begin(), line.stop.end());
  if (line.n.has_value()) request.set_n(*line.n);
  if (line.add_bos.has_value()) request.set_add_bos(*line.add_bos);
  if (line.cache_salt.has_value()) request.set_cache_salt(*line.cache_salt);
  if (line.reasoning == ReasoningMode::kInline) request.mutable_reasoning()->set_split(false);
  if (line.max_new_tokens.has_value()) request.set_max_new_tokens(*line.max_new_tokens);
  *request.mutable_sampling() = line.sampling;
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
