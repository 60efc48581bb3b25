#include "coordinator/text/template/chat_template_file.h"

#include <cerrno>
#include <fstream>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/errno_text.h"
#include "model/files/mapped_file.h"

namespace phalanx {
namespace {

constexpr size_t kMaxFileBytes = 1 << 20;

}  // namespace

absl::StatusOr<std::string> ReadChatTemplateFile(JinjaCompiler& compiler, const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  // One byte more than is allowed shows that a file is too large.
  std::string source(kMaxFileBytes + 1, '\0');
  file.read(source.data(), static_cast<std::streamsize>(source.size()));
  source.resize(static_cast<size_t>(file.gcount()));
  // Reading to the end of a short file sets fail and eof, which is no error. A folder can be opened
  // but not read.
  if (!file.is_open() || file.bad() || (file.fail() && !file.eof())) {
    return absl::NotFoundError(absl::StrCat(path, ": cannot be read: ", ErrnoText(errno)));
  }
  if (source.empty()) return absl::InvalidArgumentError(absl::StrCat(path, ": is empty"));
  if (source.size() > kMaxFileBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": is larger than ", kMaxFileBytes, " bytes"));
  }
  if (IsGitLfsPointer(source)) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": a Git LFS pointer, not the file itself; `git lfs pull` fetches it"));
  }
  const absl::Status compiled = compiler.Compile(source).status();
  if (compiled.ok()) return source;
  return absl::Status(compiled.code(), absl::StrCat(path, ": ", compiled.message()));
}

}  // namespace phalanx
