#include "coordinator/admission/validate_constraint.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/status.h"
#include "coordinator/admission/field_error.h"
#include "coordinator/admission/limits.h"
#include "nlohmann/json.hpp"

namespace phalanx {
namespace {

absl::Status CheckSize(absl::string_view field, size_t bytes) {
  if (bytes == 0) return Invalid(RefusalKind::kEmpty, field, "must not be empty");
  if (bytes <= kMaxConstraintBytes) return absl::OkStatus();
  return Invalid(RefusalKind::kTooLarge, field,
                 absl::StrCat("has ", bytes, " bytes, and ", kMaxConstraintBytes, " are allowed"));
}

absl::Status CheckChoices(const v1::Choices& choices) {
  constexpr absl::string_view kField = "constraint.choices.values";
  if (choices.values().empty()) return Invalid(RefusalKind::kEmpty, kField, "must not be empty");
  if (choices.values_size() > kMaxConstraintChoices) {
    return Invalid(RefusalKind::kTooMany, kField,
                   absl::StrCat(choices.values_size(), " texts are more than the ",
                                kMaxConstraintChoices, " allowed"));
  }
  for (int i = 0; i < choices.values_size(); ++i) {
    if (choices.values(i).empty()) {
      return Invalid(RefusalKind::kEmpty, absl::StrCat(kField, "[", i, "]"), "must not be empty");
    }
  }
  return CheckSize(kField, ChoicesText(choices).size());
}

}  // namespace

absl::Status ValidateConstraint(const v1::GenerateRequest& request) {
  if (!request.has_constraint()) return absl::OkStatus();
  if (request.ignore_eos()) {
    return Invalid(RefusalKind::kUnsupported, "ignore_eos",
                   "cannot be set together with constraint, which says where the answer ends");
  }
  if (request.min_new_tokens() > 0) {
    return Invalid(RefusalKind::kUnsupported, "min_new_tokens",
                   "cannot be set together with constraint, which says where the answer may end");
  }
  const v1::Constraint& constraint = request.constraint();
  switch (constraint.kind_case()) {
    case v1::Constraint::kJsonSchema:
      return CheckSize("constraint.json_schema", constraint.json_schema().size());
    case v1::Constraint::kJsonObject:
      if (constraint.json_object()) return absl::OkStatus();
      return Invalid(RefusalKind::kOutOfRange, "constraint.json_object", "must be true");
    case v1::Constraint::kRegex:
      return CheckSize("constraint.regex", constraint.regex().size());
    case v1::Constraint::kChoices:
      return CheckChoices(constraint.choices());
    case v1::Constraint::kLark:
      return CheckSize("constraint.lark", constraint.lark().size());
    case v1::Constraint::KIND_NOT_SET:
      break;
  }
  return Invalid(RefusalKind::kEmpty, "constraint",
                 "one of json_schema, json_object, regex, choices and lark must be set");
}

std::string ChoicesText(const v1::Choices& choices) {
  nlohmann::json array = nlohmann::json::array();
  for (const std::string& value : choices.values()) array.push_back(value);
  return array.dump();
}

}  // namespace phalanx
