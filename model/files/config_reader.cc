#include "model/files/config_reader.h"

#include <algorithm>
#include <cstdint>
#include <limits>

#include "absl/strings/escaping.h"
#include "base/status.h"
#include "model/files/tensor.h"

namespace phalanx {

const JsonValue* ConfigReader::Find(absl::string_view key) {
  asked_.emplace(key);
  const JsonValue* const value = object_.Find(key);
  return value == nullptr || value->is_null() ? nullptr : value;
}

absl::StatusOr<std::optional<int>> ConfigReader::OptionalDimension(absl::string_view key) {
  const JsonValue* const value = Find(key);
  if (value == nullptr) return std::nullopt;
  const std::optional<int64_t> number = value->AsInt();
  if (!number || *number < 1 || *number > kMaxModelDimension) {
    return Impossible(key, value->Describe(), " is not an integer in 1 to ", kMaxModelDimension);
  }
  return static_cast<int>(*number);
}

absl::StatusOr<int> ConfigReader::Dimension(absl::string_view key) {
  ASSIGN_OR_RETURN(const std::optional<int> value, OptionalDimension(key));
  if (!value) return Impossible(key, "missing");
  return *value;
}

absl::StatusOr<std::optional<double>> ConfigReader::OptionalNumber(absl::string_view key) {
  const JsonValue* const value = Find(key);
  if (value == nullptr) return std::nullopt;
  const std::optional<double> number = value->AsNumber();
  if (!number) return Impossible(key, value->Describe(), " is not a number");
  return number;
}

absl::StatusOr<double> ConfigReader::Number(absl::string_view key) {
  ASSIGN_OR_RETURN(const std::optional<double> value, OptionalNumber(key));
  if (!value) return Impossible(key, "missing");
  return *value;
}

absl::StatusOr<bool> ConfigReader::BoolOr(absl::string_view key, bool otherwise) {
  const JsonValue* const value = Find(key);
  if (value == nullptr) return otherwise;
  const std::optional<bool> flag = value->AsBool();
  if (!flag) return Impossible(key, value->Describe(), " is not a bool");
  return *flag;
}

absl::StatusOr<std::string> ConfigReader::StringOr(absl::string_view key,
                                                   absl::string_view otherwise) {
  const JsonValue* const value = Find(key);
  if (value == nullptr) return std::string(otherwise);
  if (value->AsString() == nullptr) return Impossible(key, value->Describe(), " is not a string");
  return *value->AsString();
}

absl::StatusOr<std::vector<float>> ConfigReader::Numbers(absl::string_view key) {
  const JsonValue* const value = Find(key);
  if (value == nullptr) return Impossible(key, "missing");
  std::vector<float> numbers;
  for (const JsonValue& element : value->elements()) {
    const std::optional<double> number = element.AsNumber();
    if (!number) return Impossible(key, element.Describe(), " is not a number");
    numbers.push_back(static_cast<float>(*number));
  }
  if (numbers.empty()) return Impossible(key, value->Describe(), " is not a list of numbers");
  return numbers;
}

absl::Status ConfigReader::RefuseOthers() const {
  for (const JsonMember& member : object_.members()) {
    if (member.value.is_null() || asked_.contains(member.key)) continue;
    return Unsupported(absl::CHexEscape(member.key.substr(0, 80)),
                       "this key is not supported, and may change the result");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<int32_t>> ReadTokenIds(const JsonValue& value, absl::string_view path,
                                                  absl::string_view key) {
  std::vector<int32_t> ids;
  if (value.is_null()) return ids;
  // A single id is read as a list of one.
  const absl::Span<const JsonValue> list =
      value.is_array() ? value.elements() : absl::MakeConstSpan(&value, 1);
  for (const JsonValue& element : list) {
    const std::optional<int64_t> id = element.AsInt();
    if (!id || *id < 0 || *id > std::numeric_limits<int32_t>::max()) {
      return absl::DataLossError(
          absl::StrCat(path, ": ", key, ": ", element.Describe(), " is not a token id"));
    }
    ids.push_back(static_cast<int32_t>(*id));
  }
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return ids;
}

}  // namespace phalanx
