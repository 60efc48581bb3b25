#include "model/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace phalanx {

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
  close(fd);
  RETURN_IF_ERROR(status);
  const auto* bytes = static_cast<const std::byte*>(map);
  return std::unique_ptr<MappedFile>(
      new MappedFile(absl::MakeConstSpan(bytes, static_cast<size_t>(info.st_size))));
}

MappedFile::~MappedFile() { munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size()); }

void MappedFile::DropPages() const {
  // Only advice: if the kernel refuses, memory stays in use a little longer.
  madvise(const_cast<std::byte*>(bytes_.data()), bytes_.size(), MADV_DONTNEED);
}

}  // namespace phalanx
