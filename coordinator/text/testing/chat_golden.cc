#include "coordinator/text/testing/chat_golden.h"

#include <cstdlib>
#include <ctime>
#include <fstream>
#include <iterator>
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "coordinator/text/jinja/local_jinja.h"
#include "model/files/gguf.h"
#include "model/text/tokenizer_assets.h"
#include "model/text/tokenizer_assets_gguf.h"

namespace phalanx {
namespace {

using Json = nlohmann::ordered_json;

std::optional<std::string> OptionalText(const Json& object, const char* key) {
  if (!object.contains(key) || object[key].is_null()) return std::nullopt;
  return object[key].get<std::string>();
}

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

ToolCall GoldenToolCall(const Json& call) {
  const Json& function = call["function"];
  return {call["id"].get<std::string>(), function["name"].get<std::string>(),
          function["arguments"].dump()};
}

// Formats the time at which the golden file pretends to be written.
size_t FormatGoldenTime(const char* format, uint8_t* buffer, size_t size) {
  std::tm time{};
  time.tm_year = 2024 - 1900;
  time.tm_mon = 7 - 1;
  time.tm_mday = 26;
  time.tm_hour = 12;
  time.tm_min = 34;
  time.tm_sec = 56;
  return std::strftime(reinterpret_cast<char*>(buffer), size, format, &time);
}

}  // namespace

Json ReadPrefillGolden() { return Json::parse(ReadFile(secure_getenv("PREFILLS_JSON"))); }

Json ReadChatGolden() { return Json::parse(ReadFile(secure_getenv("CHATS_JSON"))); }

Conversation GoldenConversation(const Json& chat) {
  Conversation conversation;
  for (const Json& message : chat["messages"]) {
    ChatMessage& added = conversation.messages.emplace_back();
    added.role = message["role"].get<std::string>();
    added.content = OptionalText(message, "content");
    added.tool_call_id = OptionalText(message, "tool_call_id");
    added.name = OptionalText(message, "name");
    if (!message.contains("tool_calls")) continue;
    for (const Json& call : message["tool_calls"]) {
      added.tool_calls.push_back(GoldenToolCall(call));
    }
  }
  for (const Json& function : chat["functions"]) {
    conversation.tools.push_back({function["name"].get<std::string>(),
                                  OptionalText(function, "description"),
                                  function["parameters"].dump()});
  }
  conversation.continue_last_message = chat.value("continue", false);
  if (chat.contains("arguments")) conversation.template_arguments_json = chat["arguments"].dump();
  return conversation;
}

std::string TemplateSource(const std::string& name) {
  if (name == "SmolLM2") {
    const auto file = GgufFile::Open(secure_getenv("SMOLLM2"));
    return ReadTokenizerAssets(*file.value()).value().chat_template;
  }
  for (const absl::string_view path : absl::StrSplit(secure_getenv("TEMPLATES"), ' ')) {
    if (absl::EndsWith(path, absl::StrCat("/", name))) return ReadFile(std::string(path));
  }
  return "";
}

std::unique_ptr<ChatTemplate> GoldenTemplate(const Json& entry) {
  ChatTemplateOptions options;
  for (const char* const name : {"bos_token", "eos_token"}) {
    if (const auto token = OptionalText(entry, name)) options.tokens[name] = *token;
  }
  const std::string source = TemplateSource(entry["name"].get<std::string>());
  return ChatTemplate::Create(GoldenJinja(), source, options).value();
}

JinjaCompiler& GoldenJinja() {
  static auto* const jinja = new LocalJinja({}, &FormatGoldenTime);
  return *jinja;
}

}  // namespace phalanx
