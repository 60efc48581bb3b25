#include "client/tools_file.h"

#include <optional>

#include "absl/strings/str_cat.h"
#include "base/json_text.h"
#include "base/status.h"
#include "nlohmann/json.hpp"

namespace phalanx {
namespace {

// A JSON value that keeps the order of keys, which the model sees.
using Json = nlohmann::ordered_json;

absl::Status Invalid(const std::string& place, absl::string_view problem) {
  return absl::InvalidArgumentError(absl::StrCat(place, ": ", problem));
}

absl::Status AddFunction(const std::string& place, const Json& function, v1::Tool* tool) {
  if (!function.is_object()) return Invalid(place, "must be an object");
  for (const auto& [key, value] : function.items()) {
    const std::string field = absl::StrCat(place, ".", key);
    if (key == "parameters") {
      if (!value.is_object()) return Invalid(field, "must be an object");
      tool->set_parameters(value.dump());
    } else if (key == "name" || key == "description") {
      if (!value.is_string()) return Invalid(field, "must be a string");
      *(key == "name" ? tool->mutable_name() : tool->mutable_description()) =
          value.get<std::string>();
    } else {
      return Invalid(field, "is none of name, description, parameters");
    }
  }
  return tool->has_name() ? absl::OkStatus() : Invalid(place + ".name", "must be there");
}

absl::Status AddTool(const std::string& place, const Json& entry, v1::Chat* chat) {
  if (!entry.is_object()) return Invalid(place, "must be an object");
  for (const auto& [key, value] : entry.items()) {
    if (key == "type" && value == "function") continue;
    if (key == "function") continue;
    return Invalid(absl::StrCat(place, ".", key),
                   R"(only "type": "function" and "function" can be there)");
  }
  if (!entry.contains("function")) return Invalid(place + ".function", "must be there");
  return AddFunction(place + ".function", entry["function"], chat->add_tools());
}

}  // namespace

absl::Status AddTools(absl::string_view name, const std::string& json, v1::Chat* chat) {
  if (const std::optional<JsonTextProblem> problem = FindJsonTextProblem(json)) {
    return Invalid(absl::StrCat(name, ": byte ", problem->byte), problem->what);
  }
  const Json tools = Json::parse(json, nullptr, /*allow_exceptions=*/false);
  if (!tools.is_array()) return Invalid(std::string(name), "must be a JSON array of tools");
  for (size_t i = 0; i < tools.size(); ++i) {
    RETURN_IF_ERROR(AddTool(absl::StrCat(name, "[", i, "]"), tools[i], chat));
  }
  return absl::OkStatus();
}

}  // namespace phalanx
