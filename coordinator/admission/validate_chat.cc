#include "coordinator/admission/validate_chat.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "coordinator/admission/field_error.h"
#include "coordinator/admission/json_object.h"

namespace phalanx {
namespace {

constexpr int kMaxTools = 128;
constexpr int kMaxToolCalls = 128;
constexpr size_t kMaxNameBytes = 64;
constexpr int kMaxTemplateArguments = 64;

absl::Status CheckCount(const std::string& field, int count, int most) {
  if (count <= most) return absl::OkStatus();
  return Invalid(RefusalKind::kTooMany, field,
                 absl::StrCat(count, " are more than the ", most, " allowed"));
}

// Only plain characters, so that names and ids mean nothing to a template or a tokenizer.
absl::Status CheckName(const std::string& field, const std::string& name) {
  const bool valid = !name.empty() && name.size() <= kMaxNameBytes &&
                     std::all_of(name.begin(), name.end(), [](char c) {
                       return absl::ascii_isalnum(c) || c == '_' || c == '-' || c == '.';
                     });
  if (valid) return absl::OkStatus();
  return Invalid(RefusalKind::kOutOfRange, field,
                 absl::StrCat(Quoted(name), " is not 1 to ", kMaxNameBytes,
                              " letters, digits, \"_\", \"-\" and \".\""));
}

absl::Status CheckJson(const std::string& field, const std::string& json) {
  const std::string problem = FindJsonObjectProblem(json);
  return problem.empty() ? absl::OkStatus() : Invalid(RefusalKind::kOutOfRange, field, problem);
}

absl::Status CheckToolCalls(const std::string& field, const v1::Message& message) {
  if (message.tool_calls().empty()) return absl::OkStatus();
  if (message.role() != "assistant")
    return Invalid(RefusalKind::kOutOfRange, field, "only for role \"assistant\"");
  RETURN_IF_ERROR(CheckCount(field, message.tool_calls_size(), kMaxToolCalls));
  for (int i = 0; i < message.tool_calls_size(); ++i) {
    const v1::ToolCall& call = message.tool_calls(i);
    const std::string call_field = absl::StrCat(field, "[", i, "]");
    if (call.has_id()) RETURN_IF_ERROR(CheckName(call_field + ".id", call.id()));
    if (!call.has_name()) return Invalid(RefusalKind::kEmpty, call_field + ".name", "must be set");
    RETURN_IF_ERROR(CheckName(call_field + ".name", call.name()));
    if (!call.has_arguments())
      return Invalid(RefusalKind::kEmpty, call_field + ".arguments", "must be set");
    RETURN_IF_ERROR(CheckJson(call_field + ".arguments", call.arguments()));
  }
  return absl::OkStatus();
}

absl::Status CheckNameOfTool(const std::string& field, const v1::Message& message,
                             const std::string& name) {
  if (message.role() != "tool")
    return Invalid(RefusalKind::kOutOfRange, field, "only for role \"tool\"");
  return CheckName(field, name);
}

absl::Status CheckMessage(const v1::Message& message, int index) {
  const std::string field = absl::StrCat("chat.messages[", index, "]");
  const std::string& role = message.role();
  if (role != "system" && role != "user" && role != "assistant" && role != "tool") {
    return Invalid(RefusalKind::kOutOfRange, field + ".role",
                   absl::StrCat(message.has_role() ? Quoted(role) : "unset",
                                " is none of \"system\", \"user\", \"assistant\", \"tool\""));
  }
  if (!message.has_content() && message.tool_calls().empty()) {
    return Invalid(RefusalKind::kEmpty, field + ".content", "must be set");
  }
  RETURN_IF_ERROR(CheckToolCalls(field + ".tool_calls", message));
  if (message.has_tool_call_id()) {
    RETURN_IF_ERROR(CheckNameOfTool(field + ".tool_call_id", message, message.tool_call_id()));
  }
  if (message.has_name()) {
    RETURN_IF_ERROR(CheckNameOfTool(field + ".name", message, message.name()));
  }
  return absl::OkStatus();
}

absl::Status CheckTool(const v1::Tool& tool, int index) {
  const std::string field = absl::StrCat("chat.tools[", index, "]");
  if (!tool.has_name()) return Invalid(RefusalKind::kEmpty, field + ".name", "must be set");
  RETURN_IF_ERROR(CheckName(field + ".name", tool.name()));
  if (!tool.has_parameters()) return absl::OkStatus();
  return CheckJson(field + ".parameters", tool.parameters());
}

absl::Status CheckContinuation(const v1::Chat& chat) {
  if (!chat.continue_last_message()) return absl::OkStatus();
  constexpr char kField[] = "chat.continue_last_message";
  const v1::Message& last = chat.messages(chat.messages_size() - 1);
  if (last.role() != "assistant") {
    return Invalid(RefusalKind::kOutOfRange, kField, "the last message is not the assistant's");
  }
  if (!last.has_content() || !last.tool_calls().empty()) {
    return Invalid(RefusalKind::kOutOfRange, kField,
                   "the last message must have content and no tool_calls");
  }
  return absl::OkStatus();
}

bool IsIdentifier(const std::string& name) {
  return !name.empty() && name.size() <= kMaxNameBytes && !absl::ascii_isdigit(name[0]) &&
         std::all_of(name.begin(), name.end(),
                     [](char c) { return absl::ascii_isalnum(c) || c == '_'; });
}

absl::Status CheckTemplateArguments(const v1::Chat& chat) {
  if (!chat.has_template_arguments()) return absl::OkStatus();
  const std::string field = "chat.template_arguments";
  RETURN_IF_ERROR(CheckJson(field, chat.template_arguments()));
  const std::vector<std::string> names = JsonObjectNames(chat.template_arguments());
  RETURN_IF_ERROR(CheckCount(field, static_cast<int>(names.size()), kMaxTemplateArguments));
  for (const std::string& name : names) {
    if (IsIdentifier(name)) continue;
    return Invalid(RefusalKind::kOutOfRange, field,
                   absl::StrCat("the name ", Quoted(name), " is no identifier of 1 to ",
                                kMaxNameBytes, " letters, digits and \"_\""));
  }
  return absl::OkStatus();
}

// The bytes of all strings that a caller chose. A role is one of four words.
int64_t TextBytes(const v1::Chat& chat) {
  size_t bytes = chat.template_arguments().size();
  for (const v1::Message& message : chat.messages()) {
    bytes += message.content().size() + message.tool_call_id().size() + message.name().size();
    for (const v1::ToolCall& call : message.tool_calls()) {
      bytes += call.id().size() + call.name().size() + call.arguments().size();
    }
  }
  for (const v1::Tool& tool : chat.tools()) {
    bytes += tool.name().size() + tool.description().size() + tool.parameters().size();
  }
  return static_cast<int64_t>(bytes);
}

}  // namespace

absl::Status ValidateChat(const v1::Chat& chat, const RequestLimits& limits) {
  if (!limits.has_chat_template) {
    return Invalid(RefusalKind::kUnsupported, "chat",
                   "this model has no chat template, send text or tokens");
  }
  if (chat.messages().empty())
    return Invalid(RefusalKind::kEmpty, "chat.messages", "must not be empty");
  if (chat.messages_size() > limits.max_messages) {
    return Invalid(RefusalKind::kTooMany, "chat.messages",
                   absl::StrCat(chat.messages_size(), " messages are more than the ",
                                limits.max_messages, " allowed"));
  }
  RETURN_IF_ERROR(CheckCount("chat.tools", chat.tools_size(), kMaxTools));
  // Before the messages, so that no time is spent on JSON of a request that is too large.
  RETURN_IF_ERROR(CheckPromptBytes("chat", TextBytes(chat), limits));
  for (int i = 0; i < chat.messages_size(); ++i) {
    RETURN_IF_ERROR(CheckMessage(chat.messages(i), i));
  }
  for (int i = 0; i < chat.tools_size(); ++i) RETURN_IF_ERROR(CheckTool(chat.tools(i), i));
  RETURN_IF_ERROR(CheckContinuation(chat));
  return CheckTemplateArguments(chat);
}

}  // namespace phalanx
