// The variables of a chat template, as transformers gives them to it.
#ifndef PHALANX_COORDINATOR_TEXT_TEMPLATE_TEMPLATE_CONTEXT_H_
#define PHALANX_COORDINATOR_TEXT_TEMPLATE_TEMPLATE_CONTEXT_H_

#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "coordinator/text/template/conversation.h"
#include "nlohmann/json.hpp"

namespace phalanx {

// A JSON value that keeps the order of keys, which the model sees.
using TemplateValue = nlohmann::ordered_json;

// Called for every string that a caller wrote, including the keys inside JSON texts, with the name
// of its field in the request, such as "chat.tools[2].parameters". Returns the string to use in its
// place.
using CallerText =
    absl::FunctionRef<std::string(const std::string& field, const std::string& text)>;

// How templates take the tool calls of an assistant's message.
struct CallForm {
  enum class Arguments { kObject, kText };
  // What `content` is in a message that has tool calls but no content. Some templates tell by one
  // of these that there is nothing but calls, and fail on the others.
  enum class NoContent { kAbsent, kNone, kEmpty };
  Arguments arguments = Arguments::kObject;
  NoContent no_content = NoContent::kAbsent;
};

// Returns the variable `messages`. INVALID_ARGUMENT, naming the field, if a JSON text is no object.
absl::StatusOr<TemplateValue> MessagesVariable(const Conversation& conversation, CallForm form,
                                               CallerText caller_text);

// Returns the functions that a conversation has, each with name, description and parameters. Errors
// as those of MessagesVariable.
absl::StatusOr<TemplateValue> FunctionList(const Conversation& conversation,
                                           CallerText caller_text);

// Returns the variables that the caller gives to the template, by their names; none if he gives
// none. Errors as those of MessagesVariable.
absl::StatusOr<TemplateValue> CallerVariables(const Conversation& conversation,
                                              CallerText caller_text);

// Returns the variable `tools` for the result of FunctionList.
TemplateValue ToolsVariable(TemplateValue functions);

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_TEXT_TEMPLATE_TEMPLATE_CONTEXT_H_
