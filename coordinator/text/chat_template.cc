#include "coordinator/text/chat_template.h"

#include <cstdint>
#include <ctime>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "coordinator/text/jinja/jinja.h"

namespace phalanx {
namespace {

// In made-up conversations: what a template that takes them writes.
constexpr char kProbeName[] = "phalanx_probe_name";
constexpr char kProbeArgument[] = "phalanx_probe_argument";
// Nine letters and digits, as Mistral's templates demand.
constexpr char kProbeId[] = "probe0123";

const uint8_t* Bytes(absl::string_view text) {
  return reinterpret_cast<const uint8_t*>(text.data());
}

std::string Take(uint8_t* data, size_t size) {
  if (data == nullptr) return {};
  std::string text(reinterpret_cast<const char*>(data), size);
  phalanx_jinja_free_bytes(data, size);
  return text;
}

size_t FormatNow(const char* format, uint8_t* buffer, size_t size) {
  const std::time_t now = std::time(nullptr);
  std::tm local;
  localtime_r(&now, &local);
  return std::strftime(reinterpret_cast<char*>(buffer), size, format, &local);
}

std::string AsItIs(const std::string& /*field*/, const std::string& text) { return text; }

// The message of role "system" that comes first, made if there is none.
TemplateValue& FirstSystemMessage(TemplateValue& messages) {
  for (TemplateValue& message : messages) {
    if (message["role"] == "system") return message;
  }
  const TemplateValue made = {{"role", "system"}, {"content", ""}};
  return *messages.insert(messages.begin(), made);
}

Tool ProbeTool() {
  return {.name = kProbeName,
          .description = "d",
          .parameters_json = R"({"type": "object", "properties": {)"
                             R"("a": {"type": "string", "description": "d"}}, "required": ["a"]})"};
}

}  // namespace

void ChatTemplate::Free::operator()(void* compiled) const { phalanx_jinja_free(compiled); }

absl::StatusOr<std::unique_ptr<ChatTemplate>> ChatTemplate::Create(absl::string_view source,
                                                                   ChatTemplateOptions options) {
  std::unique_ptr<ChatTemplate> chat_template(new ChatTemplate(std::move(options)));
  ASSIGN_OR_RETURN(chat_template->compiled_, chat_template->Compile(source));
  ASSIGN_OR_RETURN(chat_template->json_writer_, chat_template->Compile("{{ value | tojson }}"));
  // What a template does not name it does not use, and need not be tried.
  for (const ToolsInput input : {ToolsInput::kVariable, ToolsInput::kSystemMessage}) {
    if (!absl::StrContains(source, "tools") || !chat_template->ShowsTools(input)) continue;
    chat_template->tools_input_ = input;
    break;
  }
  for (const ArgumentsForm form : {ArgumentsForm::kObject, ArgumentsForm::kText}) {
    if (!absl::StrContains(source, "tool_calls") || !chat_template->ShowsToolCalls(form)) continue;
    chat_template->arguments_form_ = form;
    break;
  }
  return chat_template;
}

absl::StatusOr<ChatTemplate::Compiled> ChatTemplate::Compile(absl::string_view source) const {
  void* compiled = nullptr;
  uint8_t* error = nullptr;
  size_t error_size = 0;
  const int32_t code = phalanx_jinja_compile(Bytes(source), source.size(), options_.max_steps,
                                             &FormatNow, &compiled, &error, &error_size);
  if (code == PHALANX_JINJA_OK) return Compiled(compiled);
  return absl::InvalidArgumentError(absl::StrCat("chat template: ", Take(error, error_size)));
}

absl::StatusOr<std::string> ChatTemplate::Run(const Compiled& compiled,
                                              const TemplateValue& context) const {
  // Bytes that are not UTF-8 would make dump throw.
  const std::string json = context.dump(-1, ' ', false, TemplateValue::error_handler_t::replace);
  uint8_t* result = nullptr;
  size_t result_size = 0;
  const int32_t code = phalanx_jinja_render(compiled.get(), Bytes(json), json.size(),
                                            options_.max_output_bytes, &result, &result_size);
  std::string text = Take(result, result_size);
  if (code == PHALANX_JINJA_OK) return text;
  const std::string message = absl::StrCat("chat: the model's template: ", text);
  if (code == PHALANX_JINJA_EXHAUSTED) return absl::ResourceExhaustedError(message);
  return absl::InvalidArgumentError(message);
}

// Two conversations, as some templates demand a system message. Whatever fails shows nothing.
bool ChatTemplate::ShowsTools(ToolsInput input) {
  tools_input_ = input;
  Conversation conversation = {.messages = {{"user", "x"}}, .tools = {ProbeTool()}};
  absl::StatusOr<std::string> text = Render(conversation);
  if (!text.ok()) {
    conversation.messages.insert(conversation.messages.begin(), {"system", "x"});
    text = Render(conversation);
  }
  tools_input_ = ToolsInput::kNone;
  return text.ok() && absl::StrContains(*text, kProbeName);
}

// With and without content, as some templates cannot do without and others with it.
bool ChatTemplate::ShowsToolCalls(ArgumentsForm form) {
  arguments_form_ = form;
  const ToolCall call = {kProbeId, kProbeName, absl::StrCat(R"({"a": ")", kProbeArgument, R"("})")};
  Conversation conversation = {
      .messages = {{"user", "x"},
                   {.role = "assistant", .tool_calls = {call}},
                   {.role = "tool", .content = "x", .tool_call_id = kProbeId, .name = kProbeName}}};
  if (tools_input_ != ToolsInput::kNone) conversation.tools.push_back(ProbeTool());
  absl::StatusOr<std::string> text = Render(conversation);
  if (!text.ok()) {
    conversation.messages[1].content = "";
    text = Render(conversation);
  }
  arguments_form_.reset();
  return text.ok() && absl::StrContains(*text, kProbeArgument);
}

absl::Status ChatTemplate::CheckTools(const Conversation& conversation) const {
  if (!conversation.tools.empty() && tools_input_ == ToolsInput::kNone) {
    return absl::InvalidArgumentError("chat.tools: this model's template takes none");
  }
  if (arguments_form_.has_value()) return absl::OkStatus();
  for (size_t i = 0; i < conversation.messages.size(); ++i) {
    if (conversation.messages[i].tool_calls.empty()) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        "chat.messages[", i,
        "].tool_calls: this model's template leaves them out; write the call as content"));
  }
  return absl::OkStatus();
}

absl::Status ChatTemplate::AddTools(const Conversation& conversation, CallerText caller_text,
                                    TemplateValue* context) const {
  (*context)["tools"] = nullptr;
  if (conversation.tools.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(TemplateValue functions, FunctionList(conversation, caller_text));
  if (tools_input_ == ToolsInput::kVariable) {
    (*context)["tools"] = ToolsVariable(std::move(functions));
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(std::string json, Run(json_writer_, {{"value", std::move(functions)}}));
  FirstSystemMessage((*context)["messages"])["tools"] = std::move(json);
  return absl::OkStatus();
}

absl::StatusOr<std::string> ChatTemplate::Render(const Conversation& conversation,
                                                 bool add_generation_prompt,
                                                 CallerText caller_text) const {
  RETURN_IF_ERROR(CheckTools(conversation));
  TemplateValue context;
  ASSIGN_OR_RETURN(context["messages"],
                   MessagesVariable(conversation, arguments_form_.value_or(ArgumentsForm::kObject),
                                    caller_text));
  RETURN_IF_ERROR(AddTools(conversation, caller_text, &context));
  context["documents"] = nullptr;
  context["add_generation_prompt"] = add_generation_prompt;
  if (options_.bos_token) context["bos_token"] = *options_.bos_token;
  if (options_.eos_token) context["eos_token"] = *options_.eos_token;
  return Run(compiled_, context);
}

absl::StatusOr<std::string> ChatTemplate::Render(const Conversation& conversation,
                                                 bool add_generation_prompt) const {
  return Render(conversation, add_generation_prompt, AsItIs);
}

}  // namespace phalanx
