// Reads the chats of tests/golden/chat_templates.json and the templates of real models, for tests.
#ifndef PHALANX_COORDINATOR_TEXT_TESTING_CHAT_GOLDEN_H_
#define PHALANX_COORDINATOR_TEXT_TESTING_CHAT_GOLDEN_H_

#include <memory>
#include <string>

#include "coordinator/text/jinja/jinja_template.h"
#include "coordinator/text/template/chat_template.h"
#include "coordinator/text/template/conversation.h"
#include "nlohmann/json.hpp"

namespace phalanx {

// Reads the file that the environment variable CHATS_JSON names.
nlohmann::ordered_json ReadChatGolden();

// Reads the file that the environment variable PREFILLS_JSON names.
nlohmann::ordered_json ReadPrefillGolden();

// Makes a conversation of a chat in the result of ReadChatGolden, or of a case in that of
// ReadPrefillGolden.
Conversation GoldenConversation(const nlohmann::ordered_json& chat);

// Returns the source of an entry of `templates`, from a file that the environment variable
// TEMPLATES lists, or from inside the model file SMOLLM2. Empty if it is not there.
std::string TemplateSource(const std::string& name);

// Compiles the template of an entry with the tokens that the entry tells. Its time is that of the
// golden file. Throws if that fails.
std::unique_ptr<ChatTemplate> GoldenTemplate(const nlohmann::ordered_json& entry);

// A compiler whose strftime_now gives the time of the golden file.
JinjaCompiler& GoldenJinja();

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_TEXT_TESTING_CHAT_GOLDEN_H_
