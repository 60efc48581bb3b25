// A file that is mapped into memory, to be read in place.
#ifndef PHALANX_MODEL_FILES_MAPPED_FILE_H_
#define PHALANX_MODEL_FILES_MAPPED_FILE_H_

#include <cstddef>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace phalanx {

// Whether the text is a Git LFS pointer: a few lines that stand for a large file until it is
// fetched.
bool IsGitLfsPointer(absl::string_view text);

// Thread-compatible; immutable. The bytes stay valid as long as the object.
class MappedFile {
 public:
  // NOT_FOUND, PERMISSION_DENIED or UNAVAILABLE if the file cannot be read; DATA_LOSS if it is not
  // a regular file, is empty or is a Git LFS pointer. Messages start with the path. The file must
  // not shrink afterwards.
  static absl::StatusOr<std::unique_ptr<MappedFile>> Open(const std::string& path);
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  absl::Span<const std::byte> bytes() const { return bytes_; }
  absl::string_view text() const {
    return {reinterpret_cast<const char*>(bytes_.data()), bytes_.size()};
  }

  // Tells the kernel that this process no longer needs the pages in memory. They can still be read.
  void DropPages() const;

 private:
  explicit MappedFile(absl::Span<const std::byte> bytes) : bytes_(bytes) {}

  const absl::Span<const std::byte> bytes_;
};

}  // namespace phalanx

#endif  // PHALANX_MODEL_FILES_MAPPED_FILE_H_
