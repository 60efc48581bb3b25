#include "coordinator/text/template/chat_template.h"

#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "coordinator/text/tokenizer/unicode.h"

namespace phalanx {
namespace {

// Words of made-up conversations. A template that shows tools or tool calls writes them.
constexpr char kProbeName[] = "phalanx_probe_name";
constexpr char kProbeArgument[] = "phalanx_probe_argument";
// Mistral's templates demand an id of nine letters and digits.
constexpr char kProbeId[] = "probe0123";

absl::Status WithPrefix(absl::string_view prefix, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat(prefix, status.message()));
}

// Bytes that are not UTF-8 would make dump throw otherwise.
std::string JsonText(const TemplateValue& value) {
  return value.dump(-1, ' ', false, TemplateValue::error_handler_t::replace);
}

// Stands behind the content that is continued while it is rendered, so that what the template
// writes behind it can be cut off. The first character is for private use, so that no template
// takes it for anything but a letter. The space at its end tells whether the template trims
// contents.
constexpr absl::string_view kContinueTag =
    "\xee\x80\x82"
    "continue ";

// What str.strip and str.rstrip of Python take for white space.
bool IsPythonSpace(absl::string_view character) {
  const bool is_separator = character[0] >= 0x1c && character[0] <= 0x1f;
  return is_separator || FirstChar(character).char_class == CharClass::kSpace;
}

absl::string_view WithoutSpaceBehind(absl::string_view text) {
  while (!text.empty()) {
    const size_t bytes = LastCharBytes(text);
    if (!IsPythonSpace(text.substr(text.size() - bytes))) break;
    text.remove_suffix(bytes);
  }
  return text;
}

absl::string_view WithoutSpaceAround(absl::string_view text) {
  while (!text.empty() && IsPythonSpace(text)) text.remove_prefix(FirstChar(text).bytes);
  return WithoutSpaceBehind(text);
}

// Cuts `text` off where `content`, which the tag followed, ends in it, as transformers does for
// continue_final_message.
absl::Status CutAtContinueTag(absl::string_view content, std::string* text) {
  const absl::string_view trimmed_tag = kContinueTag.substr(0, kContinueTag.size() - 1);
  const size_t at = absl::string_view(*text).rfind(trimmed_tag);
  if (at == absl::string_view::npos || !absl::StrContains(*text, WithoutSpaceAround(content))) {
    return absl::InvalidArgumentError(
        "chat.continue_last_message: this model's template leaves out a part of the message");
  }
  const bool keeps_space = absl::StartsWith(absl::string_view(*text).substr(at), kContinueTag);
  text->resize(at);
  if (!keeps_space) text->resize(WithoutSpaceBehind(*text).size());
  return absl::OkStatus();
}

std::string AsItIs(const std::string& /*field*/, const std::string& text) { return text; }

// The first message of role "system", which is made if there is none.
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

absl::StatusOr<std::unique_ptr<ChatTemplate>> ChatTemplate::Create(JinjaCompiler& compiler,
                                                                   absl::string_view source,
                                                                   ChatTemplateOptions options) {
  std::unique_ptr<ChatTemplate> chat_template(new ChatTemplate(std::move(options)));
  auto compiled = compiler.Compile(source);
  if (!compiled.ok()) return WithPrefix("chat template: ", compiled.status());
  chat_template->template_ = *std::move(compiled);
  ASSIGN_OR_RETURN(chat_template->json_writer_, compiler.Compile("{{ value | tojson }}"));
  // A template cannot use what it does not name, so that need not be tried.
  for (const ToolsInput input : {ToolsInput::kVariable, ToolsInput::kSystemMessage}) {
    if (!absl::StrContains(source, "tools") || !chat_template->ShowsTools(input)) continue;
    chat_template->tools_input_ = input;
    break;
  }
  if (absl::StrContains(source, "tool_calls")) chat_template->TryToolCalls();
  return chat_template;
}

// Tries two conversations, since some templates demand a system message. A template that fails on
// both shows nothing. Render needs tools_input_, so it is set while this runs.
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

absl::StatusOr<std::string> ChatTemplate::RenderProbeCall(
    std::optional<std::string> content) const {
  const ToolCall call = {kProbeId, kProbeName, absl::StrCat(R"({"a": ")", kProbeArgument, R"("})")};
  Conversation conversation = {
      .messages = {{"user", "x"},
                   {.role = "assistant", .content = std::move(content), .tool_calls = {call}},
                   {.role = "tool", .content = "x", .tool_call_id = kProbeId, .name = kProbeName}}};
  // Some templates look at tool calls only where there are tools.
  if (tools_input_ != ToolsInput::kNone) conversation.tools.push_back(ProbeTool());
  return Render(conversation);
}

void ChatTemplate::TryToolCalls() {
  const auto shows = [](const absl::StatusOr<std::string>& text) {
    return text.ok() && absl::StrContains(*text, kProbeArgument);
  };
  const auto hides = [&](const absl::StatusOr<std::string>& text) {
    return text.ok() && !shows(text);
  };
  using Form = CallForm;
  for (const auto arguments : {Form::Arguments::kObject, Form::Arguments::kText}) {
    for (const auto no_content :
         {Form::NoContent::kAbsent, Form::NoContent::kNone, Form::NoContent::kEmpty}) {
      // Render uses call_form_, which so keeps the first form that works.
      call_form_ = {arguments, no_content};
      if (!shows(RenderProbeCall(std::nullopt))) continue;
      content_hides_calls_ = hides(RenderProbeCall("x"));
      empty_content_hides_calls_ = hides(RenderProbeCall(""));
      return;
    }
  }
  call_form_.reset();
}

absl::Status ChatTemplate::CheckTools(const Conversation& conversation) const {
  if (!conversation.tools.empty() && tools_input_ == ToolsInput::kNone) {
    return absl::InvalidArgumentError("chat.tools: this model's template takes none");
  }
  for (size_t i = 0; i < conversation.messages.size(); ++i) {
    const ChatMessage& message = conversation.messages[i];
    if (message.tool_calls.empty()) continue;
    const std::string field = absl::StrCat("chat.messages[", i, "].tool_calls: ");
    if (!call_form_) {
      return absl::InvalidArgumentError(
          absl::StrCat(field, "this model's template leaves them out; write the call as content"));
    }
    if (!message.content) continue;
    if (message.content->empty() ? empty_content_hides_calls_ : content_hides_calls_) {
      return absl::InvalidArgumentError(absl::StrCat(
          field, "this model's template leaves them out of a message that has content; leave ",
          "content unset, and send it as a message of its own"));
    }
  }
  return absl::OkStatus();
}

absl::Status ChatTemplate::AddTools(const Conversation& conversation, CallerText caller_text,
                                    TemplateValue* context) const {
  // Like transformers, gives None if there are no tools: templates ask for that.
  (*context)["tools"] = nullptr;
  if (conversation.tools.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(TemplateValue functions, FunctionList(conversation, caller_text));
  if (tools_input_ == ToolsInput::kVariable) {
    (*context)["tools"] = ToolsVariable(std::move(functions));
    return absl::OkStatus();
  }
  // The engine's own tojson writes JSON as Python does, with spaces behind commas and colons.
  ASSIGN_OR_RETURN(std::string json,
                   json_writer_->Render(JsonText({{"value", std::move(functions)}})));
  FirstSystemMessage((*context)["messages"])["tools"] = std::move(json);
  return absl::OkStatus();
}

absl::Status ChatTemplate::AddCallerVariables(const Conversation& conversation,
                                              CallerText caller_text,
                                              TemplateValue* context) const {
  ASSIGN_OR_RETURN(TemplateValue variables, CallerVariables(conversation, caller_text));
  for (auto& [name, value] : variables.items()) {
    // raise_exception and strftime_now are functions that templates call.
    if (context->contains(name) || name == "raise_exception" || name == "strftime_now") {
      return absl::InvalidArgumentError(absl::StrCat("chat.template_arguments: the variable \"",
                                                     name, "\" is not the caller's to set"));
    }
    (*context)[name] = std::move(value);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ChatTemplate::Render(const Conversation& conversation,
                                                 bool add_generation_prompt,
                                                 CallerText caller_text) const {
  RETURN_IF_ERROR(CheckTools(conversation));
  TemplateValue context;
  ASSIGN_OR_RETURN(context["messages"],
                   MessagesVariable(conversation, call_form_.value_or(CallForm()), caller_text));
  std::string continued;
  if (conversation.continue_last_message) {
    TemplateValue& content = context["messages"].back()["content"];
    continued = content.get<std::string>();
    content = absl::StrCat(continued, kContinueTag);
  }
  RETURN_IF_ERROR(AddTools(conversation, caller_text, &context));
  context["documents"] = nullptr;
  context["add_generation_prompt"] = add_generation_prompt && !conversation.continue_last_message;
  // emplace leaves what is there: a variable that transformers passes itself counts more than a
  // token of the same name.
  for (const auto& [name, spelling] : options_.tokens) context.emplace(name, spelling);
  RETURN_IF_ERROR(AddCallerVariables(conversation, caller_text, &context));
  absl::StatusOr<std::string> text = template_->Render(JsonText(context));
  if (!text.ok()) return WithPrefix("chat: the model's template: ", text.status());
  if (conversation.continue_last_message) {
    RETURN_IF_ERROR(CutAtContinueTag(continued, &*text));
  }
  return text;
}

absl::StatusOr<std::string> ChatTemplate::Render(const Conversation& conversation,
                                                 bool add_generation_prompt) const {
  return Render(conversation, add_generation_prompt, AsItIs);
}

}  // namespace phalanx
