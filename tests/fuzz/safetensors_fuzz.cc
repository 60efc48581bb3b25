// A safetensors file, or the index of a folder with two of them.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "model/files/safetensors.h"
#include "model/testing/hf_folder.h"
#include "tests/fuzz/input_file.h"
#include "tests/fuzz/properties.h"

namespace phalanx {
namespace {

// With the index as input: tensor a is in a.safetensors, tensor b in b.safetensors.
class ShardedFolder {
 public:
  ShardedFolder() {
    AddShard("a", a_);
    AddShard("b", b_);
    folder_.Link("model.safetensors.index.json", index_);
  }

  void Check(absl::string_view index) {
    index_.Write(index);
    const auto files = OpenSafetensorsFolder(folder_.path());
    if (!files.ok() && !absl::IsNotFound(files.status())) {
      CheckError(files.status(), folder_.path());
    }
    if (!files.ok()) return;
    for (const std::unique_ptr<SafetensorsFile>& file : *files) CheckTensors(file->tensors());
  }

 private:
  void AddShard(absl::string_view name, InputFile& file) {
    SafetensorsWriter writer;
    writer.AddF32(name, {1}, {1.0f});
    file.Write(writer.Finish());
    folder_.Link(absl::StrCat(name, ".safetensors"), file);
  }

  InputFile index_;
  InputFile a_;
  InputFile b_;
  InputFolder folder_;
};

void CheckFile(absl::string_view bytes) {
  static auto& input = *new InputFile;
  input.Write(bytes);
  const auto file = SafetensorsFile::Open(input.path());
  CheckError(file.status(), input.path());
  if (file.ok()) CheckTensors((*file)->tensors());
}

// A safetensors file begins with a length in eight bytes that is never so great.
bool IsIndex(absl::string_view bytes) {
  return bytes.size() >= 8 && bytes[0] == '{' && bytes[7] != '\0';
}

}  // namespace
}  // namespace phalanx

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static phalanx::ShardedFolder folder;
  const absl::string_view bytes(reinterpret_cast<const char*>(data), size);
  if (phalanx::IsIndex(bytes)) {
    folder.Check(bytes);
  } else {
    phalanx::CheckFile(bytes);
  }
  return 0;
}
