#include "coordinator/text/template/template_context.h"

#include <cstddef>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace phalanx {
namespace {

// A copy of `value` with all strings and keys replaced by what `caller_text` returns.
TemplateValue Replaced(const std::string& field, const TemplateValue& value,
                       CallerText caller_text) {
  if (value.is_string()) return caller_text(field, value.get_ref<const std::string&>());
  if (value.is_array()) {
    TemplateValue list = TemplateValue::array();
    for (const TemplateValue& item : value) list.push_back(Replaced(field, item, caller_text));
    return list;
  }
  if (!value.is_object()) return value;
  TemplateValue object = TemplateValue::object();
  for (const auto& [key, item] : value.items()) {
    object[caller_text(field, key)] = Replaced(field, item, caller_text);
  }
  return object;
}

absl::StatusOr<TemplateValue> ParseObject(const std::string& field, const std::string& json,
                                          CallerText caller_text) {
  const TemplateValue value = TemplateValue::parse(json, nullptr, /*allow_exceptions=*/false);
  if (!value.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(field, ": must be a JSON object"));
  }
  return Replaced(field, value, caller_text);
}

absl::StatusOr<TemplateValue> ToolCallVariable(const std::string& field, const ToolCall& call,
                                               CallForm::Arguments arguments_form,
                                               CallerText caller_text) {
  TemplateValue variable = TemplateValue::object();
  if (call.id) variable["id"] = caller_text(field + ".id", *call.id);
  variable["type"] = "function";
  TemplateValue& function = variable["function"] = TemplateValue::object();
  function["name"] = caller_text(field + ".name", call.name);
  const std::string arguments = field + ".arguments";
  if (arguments_form == CallForm::Arguments::kText) {
    // A template that takes text writes it as it is, so it counts as one string of the caller.
    function["arguments"] = caller_text(arguments, call.arguments_json);
  } else {
    ASSIGN_OR_RETURN(function["arguments"],
                     ParseObject(arguments, call.arguments_json, caller_text));
  }
  return variable;
}

}  // namespace

absl::StatusOr<TemplateValue> MessagesVariable(const Conversation& conversation, CallForm form,
                                               CallerText caller_text) {
  TemplateValue list = TemplateValue::array();
  for (size_t i = 0; i < conversation.messages.size(); ++i) {
    const ChatMessage& message = conversation.messages[i];
    const std::string field = absl::StrCat("chat.messages[", i, "]");
    TemplateValue variable = {{"role", message.role}};
    if (message.content) {
      variable["content"] = caller_text(field + ".content", *message.content);
    } else if (form.no_content != CallForm::NoContent::kAbsent) {
      const bool is_empty = form.no_content == CallForm::NoContent::kEmpty;
      variable["content"] = is_empty ? TemplateValue("") : TemplateValue(nullptr);
    }
    for (size_t j = 0; j < message.tool_calls.size(); ++j) {
      ASSIGN_OR_RETURN(TemplateValue call,
                       ToolCallVariable(absl::StrCat(field, ".tool_calls[", j, "]"),
                                        message.tool_calls[j], form.arguments, caller_text));
      // The key is made by the first call. Without calls it is absent, as templates ask whether it
      // is defined.
      variable["tool_calls"].push_back(std::move(call));
    }
    if (message.tool_call_id) {
      variable["tool_call_id"] = caller_text(field + ".tool_call_id", *message.tool_call_id);
    }
    if (message.name) variable["name"] = caller_text(field + ".name", *message.name);
    list.push_back(std::move(variable));
  }
  return list;
}

absl::StatusOr<TemplateValue> FunctionList(const Conversation& conversation,
                                           CallerText caller_text) {
  TemplateValue list = TemplateValue::array();
  for (size_t i = 0; i < conversation.tools.size(); ++i) {
    const Tool& tool = conversation.tools[i];
    const std::string field = absl::StrCat("chat.tools[", i, "]");
    TemplateValue function = {{"name", caller_text(field + ".name", tool.name)}};
    if (tool.description) {
      function["description"] = caller_text(field + ".description", *tool.description);
    }
    if (tool.parameters_json) {
      ASSIGN_OR_RETURN(function["parameters"],
                       ParseObject(field + ".parameters", *tool.parameters_json, caller_text));
    }
    list.push_back(std::move(function));
  }
  return list;
}

absl::StatusOr<TemplateValue> CallerVariables(const Conversation& conversation,
                                              CallerText caller_text) {
  constexpr char kField[] = "chat.template_arguments";
  TemplateValue variables = TemplateValue::object();
  if (!conversation.template_arguments_json) return variables;
  // The names stay as they are: the template knows them, and does not write them.
  const TemplateValue given = TemplateValue::parse(*conversation.template_arguments_json, nullptr,
                                                   /*allow_exceptions=*/false);
  if (!given.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(kField, ": must be a JSON object"));
  }
  for (const auto& [name, value] : given.items()) {
    variables[name] = Replaced(kField, value, caller_text);
  }
  return variables;
}

TemplateValue ToolsVariable(TemplateValue functions) {
  TemplateValue list = TemplateValue::array();
  for (TemplateValue& function : functions) {
    TemplateValue tool = {{"type", "function"}};
    tool["function"] = std::move(function);
    list.push_back(std::move(tool));
  }
  return list;
}

}  // namespace phalanx
