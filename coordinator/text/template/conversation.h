// A conversation as it comes from a caller. All strings are UTF-8.
#ifndef PHALANX_COORDINATOR_TEXT_TEMPLATE_CONVERSATION_H_
#define PHALANX_COORDINATOR_TEXT_TEMPLATE_CONVERSATION_H_

#include <optional>
#include <string>
#include <vector>

namespace phalanx {

// A function that the model may ask the caller to run.
struct Tool {
  std::string name;
  std::optional<std::string> description = std::nullopt;
  // The text of a JSON object.
  std::optional<std::string> parameters_json = std::nullopt;
};

struct ToolCall {
  std::optional<std::string> id = std::nullopt;
  // The name of the function.
  std::string name;
  // The text of a JSON object.
  std::string arguments_json;
};

struct ChatMessage {
  std::string role;
  std::optional<std::string> content = std::nullopt;
  // Only in an assistant's message.
  std::vector<ToolCall> tool_calls = {};
  // Only in a tool's message: the id of the call that it answers, and the name of the function.
  std::optional<std::string> tool_call_id = std::nullopt;
  std::optional<std::string> name = std::nullopt;
};

struct Conversation {
  std::vector<ChatMessage> messages;
  std::vector<Tool> tools = {};
  // The answer goes on with the last message, which has content and is the assistant's: no turn
  // begins behind it.
  bool continue_last_message = false;
  // The text of a JSON object: further variables for the template.
  std::optional<std::string> template_arguments_json = std::nullopt;
};

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_TEXT_TEMPLATE_CONVERSATION_H_
