#include "model/files/mapped_file.h"

#include <fcntl.h>
#include <sanitizer/asan_interface.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace phalanx {
namespace {

// The number of zeros between the end of the file and the end of its last page.
size_t TailBytes(size_t file_bytes) {
  const auto page_bytes = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  return (page_bytes - file_bytes % page_bytes) % page_bytes;
}

constexpr absl::string_view kGitLfsPointer = "version https://git-lfs.github.com/spec/";

}  // namespace

bool IsGitLfsPointer(absl::string_view text) { return absl::StartsWith(text, kGitLfsPointer); }

absl::StatusOr<std::unique_ptr<MappedFile>> MappedFile::Open(const std::string& path) {
  const auto system_error = [&](absl::string_view call) {
    return absl::ErrnoToStatus(errno, absl::StrCat(path, ": ", call));
  };
  // Without O_NONBLOCK, opening a pipe would wait for a writer.
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
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
  // A mapping stays when its descriptor is closed.
  close(fd);
  RETURN_IF_ERROR(status);
  const auto bytes =
      absl::MakeConstSpan(static_cast<const std::byte*>(map), static_cast<size_t>(info.st_size));
  // AddressSanitizer reports reads of the tail; without it these macros are empty.
  ASAN_POISON_MEMORY_REGION(bytes.data() + bytes.size(), TailBytes(bytes.size()));
  std::unique_ptr<MappedFile> file(new MappedFile(bytes));
  if (IsGitLfsPointer(file->text())) {
    return absl::DataLossError(
        absl::StrCat(path, ": a Git LFS pointer, not the file itself; `git lfs pull` fetches it"));
  }
  return file;
}

MappedFile::~MappedFile() {
  ASAN_UNPOISON_MEMORY_REGION(bytes_.data() + bytes_.size(), TailBytes(bytes_.size()));
  munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

void MappedFile::DropPages() const {
  // Only advice: if the kernel refuses, memory stays in use a little longer.
  madvise(const_cast<std::byte*>(bytes_.data()), bytes_.size(), MADV_DONTNEED);
}

}  // namespace phalanx
