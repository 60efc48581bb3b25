#include "model/files/gguf.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace phalanx {

absl::StatusOr<std::unique_ptr<GgufFile>> GgufFile::Open(const std::string& path) {
  ASSIGN_OR_RETURN(std::unique_ptr<MappedFile> map, MappedFile::Open(path));
  ASSIGN_OR_RETURN(GgufContents contents, ParseGguf(map->bytes(), path));
  return std::unique_ptr<GgufFile>(new GgufFile(path, std::move(map), std::move(contents)));
}

bool GgufFile::Has(absl::string_view key) const { return contents_.metadata.contains(key); }

std::vector<absl::string_view> GgufFile::Keys() const {
  std::vector<absl::string_view> keys;
  keys.reserve(contents_.metadata.size());
  for (const auto& [key, value] : contents_.metadata) keys.push_back(key);
  std::sort(keys.begin(), keys.end());
  return keys;
}

template <typename T>
absl::StatusOr<const T*> GgufFile::Find(absl::string_view key, absl::string_view wanted) const {
  const auto it = contents_.metadata.find(key);
  if (it == contents_.metadata.end()) {
    return absl::NotFoundError(absl::StrCat(path_, ": no key ", key));
  }
  if (const T* value = std::get_if<T>(&it->second)) return value;
  return absl::DataLossError(absl::StrCat(path_, ": ", key, " is not ", wanted));
}

absl::StatusOr<int64_t> GgufFile::GetInt(absl::string_view key) const {
  ASSIGN_OR_RETURN(const int64_t* value, Find<int64_t>(key, "an integer below 2^63"));
  return *value;
}

absl::StatusOr<double> GgufFile::GetFloat(absl::string_view key) const {
  ASSIGN_OR_RETURN(const double* value, Find<double>(key, "a floating-point number"));
  return *value;
}

absl::StatusOr<bool> GgufFile::GetBool(absl::string_view key) const {
  ASSIGN_OR_RETURN(const bool* value, Find<bool>(key, "a bool"));
  return *value;
}

absl::StatusOr<absl::string_view> GgufFile::GetString(absl::string_view key) const {
  ASSIGN_OR_RETURN(const absl::string_view* value, Find<absl::string_view>(key, "a string"));
  return *value;
}

absl::StatusOr<absl::Span<const absl::string_view>> GgufFile::GetStrings(
    absl::string_view key) const {
  ASSIGN_OR_RETURN(const auto* value,
                   Find<std::vector<absl::string_view>>(key, "an array of strings"));
  return absl::MakeConstSpan(*value);
}

absl::StatusOr<absl::Span<const int64_t>> GgufFile::GetInts(absl::string_view key) const {
  ASSIGN_OR_RETURN(const auto* value, Find<std::vector<int64_t>>(key, "an array of integers"));
  return absl::MakeConstSpan(*value);
}

absl::StatusOr<absl::Span<const double>> GgufFile::GetFloats(absl::string_view key) const {
  ASSIGN_OR_RETURN(const auto* value,
                   Find<std::vector<double>>(key, "an array of floating-point numbers"));
  return absl::MakeConstSpan(*value);
}

const TensorView* GgufFile::FindTensor(absl::string_view name) const {
  const auto it = contents_.tensor_index.find(name);
  return it == contents_.tensor_index.end() ? nullptr : &contents_.tensors[it->second];
}

}  // namespace phalanx
