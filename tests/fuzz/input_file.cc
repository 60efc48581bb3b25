#include "tests/fuzz/input_file.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "base/log.h"

namespace phalanx {

InputFile::InputFile()
    : fd_(memfd_create("fuzz_input", MFD_CLOEXEC)), path_(absl::StrCat("/proc/self/fd/", fd_)) {
  CHECK(fd_ >= 0) << "memfd_create failed";
}

InputFile::~InputFile() { close(fd_); }

void InputFile::Write(absl::string_view bytes) {
  CHECK(ftruncate(fd_, 0) == 0);
  while (!bytes.empty()) {
    const off_t end = lseek(fd_, 0, SEEK_END);
    const ssize_t written = pwrite(fd_, bytes.data(), bytes.size(), end);
    CHECK(written > 0) << "cannot write the input";
    bytes.remove_prefix(static_cast<size_t>(written));
  }
}

InputFolder::InputFolder()
    : path_((std::filesystem::temp_directory_path() / "fuzz_input_XXXXXX").string()) {
  CHECK(mkdtemp(path_.data()) != nullptr) << path_;
}

InputFolder::~InputFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

void InputFolder::Link(absl::string_view name, const InputFile& file) {
  CHECK(symlink(file.path().c_str(), absl::StrCat(path_, "/", name).c_str()) == 0) << name;
}

void InputFolder::Unlink(absl::string_view name) {
  CHECK(unlink(absl::StrCat(path_, "/", name).c_str()) == 0) << name;
}

}  // namespace phalanx
