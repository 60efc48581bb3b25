#include "model/files/gguf_split.h"

#include <cstdint>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "base/status.h"

namespace phalanx {
namespace {

constexpr int64_t kMaxParts = 99999;  // Five digits.
constexpr absl::string_view kNumber = "split.no";
constexpr absl::string_view kCount = "split.count";
constexpr absl::string_view kTensors = "split.tensors.count";

// Keys count parts from 0, names from 1.
std::string Suffix(int64_t number, int64_t count) {
  return absl::StrFormat("-%05d-of-%05d.gguf", number + 1, count);
}

absl::Status Wrong(const GgufFile& file, absl::string_view key, absl::string_view what) {
  return absl::DataLossError(absl::StrCat(file.path(), ": ", key, ": ", what));
}

absl::Status CheckPart(const GgufFile& part, int64_t number, int64_t count) {
  for (const auto& [key, wanted] : {std::pair{kNumber, number}, {kCount, count}}) {
    ASSIGN_OR_RETURN(const int64_t value, part.GetInt(key));
    if (value != wanted) {
      return Wrong(part, key, absl::StrCat(value, ", where ", wanted, " is expected"));
    }
  }
  return absl::OkStatus();
}

// The path of the parts without their number. An error if `path` is not that of the first.
absl::StatusOr<std::string> StemOf(const GgufFile& file, int64_t count) {
  ASSIGN_OR_RETURN(const int64_t number, file.GetInt(kNumber));
  if (number < 0 || number >= count) {
    return Wrong(file, kNumber, absl::StrCat(number, " of ", count));
  }
  absl::string_view stem = file.path();
  if (!absl::ConsumeSuffix(&stem, Suffix(number, count))) {
    return Wrong(file, kNumber,
                 absl::StrCat("part ", number + 1, " of ", count,
                              ", but the name does not end with ", Suffix(number, count)));
  }
  if (number != 0) {
    return absl::InvalidArgumentError(absl::StrCat(file.path(), ": this is part ", number + 1,
                                                   " of ", count, "; open ", stem,
                                                   Suffix(0, count)));
  }
  return std::string(stem);
}

}  // namespace

absl::StatusOr<std::vector<std::unique_ptr<GgufFile>>> OpenGgufFiles(const std::string& path) {
  std::vector<std::unique_ptr<GgufFile>> files;
  ASSIGN_OR_RETURN(std::unique_ptr<GgufFile> first, GgufFile::Open(path));
  files.push_back(std::move(first));
  if (!files[0]->Has(kCount)) return files;
  ASSIGN_OR_RETURN(const int64_t count, files[0]->GetInt(kCount));
  // Merging the parts of a model leaves one part, which has these keys too.
  if (count == 0 || count == 1) return files;
  if (count < 0 || count > kMaxParts) {
    return Wrong(*files[0], kCount, absl::StrCat(count, " parts"));
  }
  ASSIGN_OR_RETURN(const std::string stem, StemOf(*files[0], count));
  size_t num_tensors = files[0]->tensors().size();
  for (int64_t number = 1; number < count; ++number) {
    ASSIGN_OR_RETURN(std::unique_ptr<GgufFile> part,
                     GgufFile::Open(absl::StrCat(stem, Suffix(number, count))));
    RETURN_IF_ERROR(CheckPart(*part, number, count));
    num_tensors += part->tensors().size();
    files.push_back(std::move(part));
  }
  ASSIGN_OR_RETURN(const int64_t declared, files[0]->GetInt(kTensors));
  if (static_cast<uint64_t>(declared) != num_tensors) {
    return Wrong(*files[0], kTensors,
                 absl::StrCat(declared, ", but the parts have ", num_tensors, " tensors"));
  }
  return files;
}

}  // namespace phalanx
