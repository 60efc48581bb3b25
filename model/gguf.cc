#include "model/gguf.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "model/gguf_parser.h"

namespace phalanx {

GgufFile::GgufFile(std::string path, const std::byte* map, size_t bytes)
    : path_(std::move(path)), map_(map), bytes_(bytes) {}

GgufFile::~GgufFile() { munmap(const_cast<std::byte*>(map_), bytes_); }

absl::StatusOr<std::unique_ptr<GgufFile>> GgufFile::Open(const std::string& path) {
  const auto system_error = [&](absl::string_view call) {
    return absl::ErrnoToStatus(errno, absl::StrCat(path, ": ", call));
  };
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return system_error("open");
  struct stat info;
  absl::Status status;
  void* map = MAP_FAILED;
  if (fstat(fd, &info) != 0) {
    status = system_error("fstat");
  } else if (!S_ISREG(info.st_mode)) {
    status = absl::DataLossError(absl::StrCat(path, ": not a regular file"));
  } else if (info.st_size == 0) {
    status = absl::DataLossError(absl::StrCat(path, ": the file is empty"));
  } else {
    map = mmap(nullptr, info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (map == MAP_FAILED) status = system_error("mmap");
  }
  close(fd);
  RETURN_IF_ERROR(status);

  std::unique_ptr<GgufFile> file(
      new GgufFile(path, static_cast<const std::byte*>(map), static_cast<size_t>(info.st_size)));
  RETURN_IF_ERROR(GgufParser(*file).Parse());
  return file;
}

bool GgufFile::Has(absl::string_view key) const { return metadata_.contains(key); }

std::vector<absl::string_view> GgufFile::Keys() const {
  std::vector<absl::string_view> keys;
  keys.reserve(metadata_.size());
  for (const auto& [key, value] : metadata_) keys.push_back(key);
  std::sort(keys.begin(), keys.end());
  return keys;
}

template <typename T>
absl::StatusOr<const T*> GgufFile::Find(absl::string_view key, absl::string_view wanted) const {
  const auto it = metadata_.find(key);
  if (it == metadata_.end()) {
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
  const auto it = tensor_index_.find(name);
  return it == tensor_index_.end() ? nullptr : &tensors_[it->second];
}

void GgufFile::DropPages() const {
  // Only advice: if the kernel refuses, memory stays in use a little longer.
  madvise(const_cast<std::byte*>(map_), bytes_, MADV_DONTNEED);
}

}  // namespace phalanx
