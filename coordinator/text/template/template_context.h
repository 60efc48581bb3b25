// The variables of a chat template, as transformers gives them to it.
#ifndef PHALANX_COORDINATOR_TEXT_TEMPLATE_TEMPLATE_CONTEXT_H_
#define PHALANX_COORDINATOR_TEXT_TEMPLATE_TEMPLATE_CONTEXT_H_

#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "coordinator/text/template/conversation.h"
#include "nlohmann/json.hpp"

namespace phalanx {

// Keeps the order of keys.
using TemplateValue = nlohmann::ordered_json;

// Called for every string that a caller wrote, the keys inside JSON texts among them, with the
// field of the request that it is in: "chat.tools[2].parameters". What it returns takes its place.
using CallerText =
    absl::FunctionRef<std::string(const std::string& field, const std::string& text)>;

// How templates take the tool calls of an assistant's message.
struct CallForm {
  enum class Arguments { kObject, kText };
  // `content` of a message that has calls and none. Some templates tell by one of these that calls
  // are all that there is, and fail on the others.
  enum class NoContent { kAbsent, kNone, kEmpty };
  Arguments arguments = Arguments::kObject;
  NoContent no_content = NoContent::kAbsent;
};

// `messages`. INVALID_ARGUMENT naming the field: a JSON text that is no object.
absl::StatusOr<TemplateValue> MessagesVariable(const Conversation& conversation, CallForm form,
                                               CallerText caller_text);

// The functions that a conversation has: name, description, parameters. Errors as of
// MessagesVariable.
absl::StatusOr<TemplateValue> FunctionList(const Conversation& conversation,
                                           CallerText caller_text);

// `tools`, of a FunctionList.
TemplateValue ToolsVariable(TemplateValue functions);

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_TEXT_TEMPLATE_TEMPLATE_CONTEXT_H_
