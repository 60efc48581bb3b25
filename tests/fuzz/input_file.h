// An input of a fuzz target as a file, for code that opens paths.
#ifndef PHALANX_TESTS_FUZZ_INPUT_FILE_H_
#define PHALANX_TESTS_FUZZ_INPUT_FILE_H_

#include <string>

#include "absl/strings/string_view.h"

namespace phalanx {

// A file in memory, without a name in any folder. Its path is good in this process only.
class InputFile {
 public:
  InputFile();
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;
  ~InputFile();

  const std::string& path() const { return path_; }

  // Makes these the bytes of the file. No mapping of it may be in use.
  void Write(absl::string_view bytes);

 private:
  const int fd_;
  const std::string path_;
};

// A folder in the temporary folder that goes with the object.
class InputFolder {
 public:
  InputFolder();
  InputFolder(const InputFolder&) = delete;
  InputFolder& operator=(const InputFolder&) = delete;
  ~InputFolder();

  const std::string& path() const { return path_; }

  // Adds a name for `file`, which outlives the folder.
  void Link(absl::string_view name, const InputFile& file);
  void Unlink(absl::string_view name);

 private:
  std::string path_;
};

}  // namespace phalanx

#endif  // PHALANX_TESTS_FUZZ_INPUT_FILE_H_
