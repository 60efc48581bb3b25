#include "coordinator/admission/validate_tools.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "coordinator/admission/field_error.h"

namespace phalanx {
namespace {

absl::Status UnknownFormat(absl::string_view field) {
  return Invalid(RefusalKind::kUnsupported, field,
                 "how this model writes tool calls is not known (Model.tool_call_format)");
}

absl::Status CheckChoice(const v1::GenerateRequest& request, const RequestLimits& limits) {
  const v1::ToolChoice& choice = request.tool_choice();
  const auto& tools = request.chat().tools();
  switch (choice.choice_case()) {
    case v1::ToolChoice::kMode:
      if (!v1::ToolChoice::Mode_IsValid(choice.mode()) ||
          choice.mode() == v1::ToolChoice::MODE_UNSPECIFIED) {
        return Invalid(RefusalKind::kOutOfRange, "tool_choice.mode",
                       absl::StrCat(choice.mode(),
                                    " is none of MODE_NONE, MODE_AUTO and "
                                    "MODE_REQUIRED"));
      }
      if (choice.mode() != v1::ToolChoice::MODE_REQUIRED) return absl::OkStatus();
      break;
    case v1::ToolChoice::kName:
      if (std::none_of(tools.begin(), tools.end(),
                       [&](const v1::Tool& tool) { return tool.name() == choice.name(); })) {
        return Invalid(RefusalKind::kOutOfRange, "tool_choice.name",
                       absl::StrCat(Quoted(choice.name()), " is none of chat.tools"));
      }
      break;
    case v1::ToolChoice::CHOICE_NOT_SET:
      return Invalid(RefusalKind::kEmpty, "tool_choice", "one of mode and name must be set");
  }
  if (tools.empty()) {
    return Invalid(RefusalKind::kEmpty, "tool_choice", "chat.tools must have one to be called");
  }
  if (!limits.has_tool_call_format) return UnknownFormat("tool_choice");
  if (request.has_constraint() || request.ignore_eos()) {
    return Invalid(RefusalKind::kUnsupported, "tool_choice",
                   "makes the answer a call, so there can be no constraint and no ignore_eos");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ValidateToolUse(const v1::GenerateRequest& request, const RequestLimits& limits) {
  if (request.has_tool_choice()) RETURN_IF_ERROR(CheckChoice(request, limits));
  if (!request.parse_tool_calls()) return absl::OkStatus();
  if (request.chat().tools().empty()) {
    return Invalid(RefusalKind::kEmpty, "parse_tool_calls", "needs chat.tools");
  }
  if (!limits.has_tool_call_format) return UnknownFormat("parse_tool_calls");
  return absl::OkStatus();
}

bool ForbidsTools(const v1::GenerateRequest& request) {
  return request.tool_choice().has_mode() &&
         request.tool_choice().mode() == v1::ToolChoice::MODE_NONE;
}

bool ForcesToolCall(const v1::GenerateRequest& request) {
  return request.tool_choice().has_name() ||
         (request.tool_choice().has_mode() &&
          request.tool_choice().mode() == v1::ToolChoice::MODE_REQUIRED);
}

}  // namespace phalanx
