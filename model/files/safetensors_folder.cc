#include <map>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/status.h"
#include "model/files/json.h"
#include "model/files/safetensors.h"

namespace phalanx {
namespace {

constexpr absl::string_view kSingle = "model.safetensors";
constexpr absl::string_view kIndex = "model.safetensors.index.json";
constexpr size_t kMaxFiles = 1000;
constexpr JsonLimits kIndexLimits = {.max_depth = 4, .max_values = 1 << 20};

using Files = std::vector<std::unique_ptr<SafetensorsFile>>;
using FileOfTensor = absl::flat_hash_map<absl::string_view, absl::string_view>;

std::string Printable(absl::string_view name) { return absl::CHexEscape(name.substr(0, 80)); }

absl::Status Broken(absl::string_view path, absl::string_view what) {
  return absl::DataLossError(absl::StrCat(path, ": ", what));
}

// Whether `name` is a file in the folder itself. The index may come from anybody, and must not make
// us open other files.
bool IsPlainName(absl::string_view name) {
  return absl::EndsWith(name, ".safetensors") && name.size() <= 255 &&
         !absl::StrContains(name, '/') && !absl::StrContains(name, '\0');
}

absl::StatusOr<FileOfTensor> ReadWeightMap(const std::string& path, const JsonValue& index) {
  const JsonValue* const weight_map = index.Find("weight_map");
  if (weight_map == nullptr || weight_map->members().empty()) {
    return Broken(path, "weight_map: not an object that names tensors");
  }
  FileOfTensor files;
  for (const JsonMember& member : weight_map->members()) {
    const std::string* const name = member.value.AsString();
    if (name == nullptr || !IsPlainName(*name)) {
      return Broken(path, absl::StrCat("weight_map: tensor ", Printable(member.key), ": ",
                                       member.value.Describe(),
                                       " is not the name of a safetensors file in this folder"));
    }
    files.emplace(member.key, *name);
  }
  return files;
}

// DATA_LOSS unless `file` has exactly the tensors that the index says it has.
absl::Status CheckTensors(const std::string& index_path, const FileOfTensor& file_of_tensor,
                          absl::string_view name, size_t num_tensors, const SafetensorsFile& file) {
  for (const TensorView& tensor : file.tensors()) {
    const auto it = file_of_tensor.find(tensor.name);
    if (it == file_of_tensor.end() || it->second != name) {
      return Broken(file.path(), absl::StrCat("tensor ", Printable(tensor.name), ": ", index_path,
                                              " does not name this file for it"));
    }
  }
  if (file.tensors().size() == num_tensors) return absl::OkStatus();
  absl::flat_hash_map<absl::string_view, bool> present;
  for (const TensorView& tensor : file.tensors()) present[tensor.name] = true;
  for (const auto& [tensor, owner] : file_of_tensor) {
    if (owner == name && !present.contains(tensor)) {
      return Broken(file.path(), absl::StrCat("tensor ", Printable(tensor), ": missing, where ",
                                              index_path, " names this file for it"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<Files> OpenShards(const std::string& folder) {
  const std::string index_path = absl::StrCat(folder, "/", kIndex);
  absl::StatusOr<JsonValue> index = ReadJsonFile(index_path, kIndexLimits);
  if (absl::IsNotFound(index.status())) {
    return absl::NotFoundError(
        absl::StrCat(folder, ": neither ", kSingle, " nor ", kIndex, " is there"));
  }
  RETURN_IF_ERROR(index.status());
  ASSIGN_OR_RETURN(const FileOfTensor file_of_tensor, ReadWeightMap(index_path, *index));
  std::map<absl::string_view, size_t> num_tensors;
  for (const auto& [tensor, file] : file_of_tensor) ++num_tensors[file];
  if (num_tensors.size() > kMaxFiles) {
    return Broken(index_path,
                  absl::StrCat(num_tensors.size(), " files, where ", kMaxFiles, " are allowed"));
  }
  Files files;
  for (const auto& [name, count] : num_tensors) {
    ASSIGN_OR_RETURN(std::unique_ptr<SafetensorsFile> file,
                     SafetensorsFile::Open(absl::StrCat(folder, "/", name)));
    RETURN_IF_ERROR(CheckTensors(index_path, file_of_tensor, name, count, *file));
    files.push_back(std::move(file));
  }
  return files;
}

}  // namespace

absl::StatusOr<Files> OpenSafetensorsFolder(const std::string& folder) {
  absl::StatusOr<std::unique_ptr<SafetensorsFile>> single =
      SafetensorsFile::Open(absl::StrCat(folder, "/", kSingle));
  if (absl::IsNotFound(single.status())) return OpenShards(folder);
  RETURN_IF_ERROR(single.status());
  Files files;
  files.push_back(*std::move(single));
  return files;
}

}  // namespace phalanx
