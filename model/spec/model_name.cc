#include "model/spec/model_name.h"

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "absl/strings/ascii.h"
#include "absl/strings/strip.h"

namespace phalanx {
namespace {

namespace fs = std::filesystem;

constexpr absl::string_view kRepositoryPrefix = "models--";
// The folder "/" has no name.
constexpr absl::string_view kNameless = "model";

bool IsQuantizationName(absl::string_view text) {
  const std::string upper = absl::AsciiStrToUpper(text);
  absl::string_view name = upper;
  if (name == "F32" || name == "F16" || name == "FP16" || name == "BF16") return true;
  absl::ConsumePrefix(&name, "I");
  return name.size() >= 2 && name[0] == 'Q' && absl::ascii_isdigit(name[1]);
}

// "-00001-of-00003", as llama.cpp names the parts of a model.
bool IsSplitSuffix(absl::string_view text) {
  const auto digits = [](absl::string_view part) {
    return part.size() == 5 && std::all_of(part.begin(), part.end(), absl::ascii_isdigit);
  };
  return text.size() == 15 && text[0] == '-' && digits(text.substr(1, 5)) &&
         text.substr(6, 4) == "-of-" && digits(text.substr(10));
}

bool IsNoName(absl::string_view part) { return part.empty() || part == "." || part == ".."; }

std::string LastPart(absl::string_view path) {
  while (absl::ConsumeSuffix(&path, "/")) {
  }
  return std::string(path.substr(path.rfind('/') + 1));
}

// Gives "name" for "models--org--name" and for "models--name"; empty for other folders.
std::string RepositoryName(absl::string_view folder) {
  if (!absl::ConsumePrefix(&folder, kRepositoryPrefix)) return "";
  const size_t cut = folder.find("--");
  return std::string(cut == absl::string_view::npos ? folder : folder.substr(cut + 2));
}

// The name of the repository that `path`, which must be absolute, is a snapshot of; empty if it is
// not a snapshot.
std::string SnapshotName(const fs::path& path) {
  if (path.parent_path().filename() != "snapshots") return "";
  return RepositoryName(path.parent_path().parent_path().filename().string());
}

}  // namespace

std::string FileModelName(absl::string_view path) {
  const std::string file = LastPart(path);
  absl::string_view name = file;
  if (!absl::ConsumeSuffix(&name, ".gguf")) return std::string(name);
  if (name.size() > 15 && IsSplitSuffix(name.substr(name.size() - 15))) name.remove_suffix(15);
  const size_t cut = name.find_last_of(".-");
  if (cut != absl::string_view::npos && cut > 0 && IsQuantizationName(name.substr(cut + 1))) {
    name = name.substr(0, cut);
  }
  return std::string(name);
}

std::string FolderModelName(const std::string& path) {
  std::error_code error;
  const fs::path real = fs::canonical(path, error);
  const fs::path given = (fs::absolute(path, error) / "").lexically_normal().parent_path();
  std::string name = LastPart(path);
  const bool is_name = !IsNoName(name);
  // A link into the cache keeps the name that somebody gave it, so the real path counts only if it
  // ends with the given name.
  for (const fs::path& folder : {given, real}) {
    if (is_name && folder.filename() != name) continue;
    std::string repository = SnapshotName(folder);
    if (!repository.empty()) return repository;
  }
  if (!is_name) name = real.filename().string();
  std::string repository = RepositoryName(name);
  if (!repository.empty()) return repository;
  return name.empty() ? std::string(kNameless) : name;
}

}  // namespace phalanx
