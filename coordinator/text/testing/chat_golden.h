// The chats of tests/golden/chat_templates.json and the real models' templates.
#ifndef PHALANX_COORDINATOR_TEXT_TESTING_CHAT_GOLDEN_H_
#define PHALANX_COORDINATOR_TEXT_TESTING_CHAT_GOLDEN_H_

#include <memory>
#include <string>

#include "coordinator/text/jinja/jinja_template.h"
#include "coordinator/text/template/chat_template.h"
#include "coordinator/text/template/conversation.h"
#include "nlohmann/json.hpp"

namespace phalanx {

// Of the environment's CHATS_JSON.
nlohmann::ordered_json ReadChatGolden();

// Of a chat of that file.
Conversation GoldenConversation(const nlohmann::ordered_json& chat);

// The source of an entry of `templates`: a file of the environment's TEMPLATES, or that inside the
// model file SMOLLM2. Empty if it is not there.
std::string TemplateSource(const std::string& name);

// Compiled with what the entry tells; its time is that of the golden file. Throws if that fails.
std::unique_ptr<ChatTemplate> GoldenTemplate(const nlohmann::ordered_json& entry);

// Its strftime_now gives the time of the golden file.
JinjaCompiler& GoldenJinja();

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_TEXT_TESTING_CHAT_GOLDEN_H_
