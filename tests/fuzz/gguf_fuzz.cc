// A GGUF file, and all that is read out of one.

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "model/files/gguf.h"
#include "model/files/tensor_table.h"
#include "model/generation/generation_defaults.h"
#include "model/spec/gguf_spec.h"
#include "model/text/tokenizer_assets.h"
#include "model/text/tokenizer_assets_gguf.h"
#include "tests/fuzz/input_file.h"
#include "tests/fuzz/properties.h"

namespace phalanx {
namespace {

void CheckMetadata(const GgufFile& file) {
  for (const absl::string_view key : file.Keys()) {
    CheckError(file.GetInt(key).status(), file.path());
    CheckError(file.GetFloat(key).status(), file.path());
    CheckError(file.GetBool(key).status(), file.path());
    CheckError(file.GetString(key).status(), file.path());
    CheckError(file.GetStrings(key).status(), file.path());
    CheckError(file.GetInts(key).status(), file.path());
    CheckError(file.GetFloats(key).status(), file.path());
  }
}

void CheckFile(const GgufFile& file) {
  CheckMetadata(file);
  CheckTensors(file.tensors());
  ReadGenerationDefaults(file);

  TensorTable tensors;
  CheckError(tensors.Add(file.path(), file.tensors()), file.path());
  const absl::StatusOr<ModelSpec> spec = ReadGgufSpec(file, tensors);
  CheckError(spec.status(), file.path());
  if (spec.ok()) CheckSpec(*spec);

  absl::StatusOr<TokenizerAssets> assets = ReadTokenizerAssets(file);
  CheckError(assets.status(), file.path());
  if (assets.ok()) CheckTokenizer(*std::move(assets));
}

}  // namespace
}  // namespace phalanx

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static auto& input = *new phalanx::InputFile;
  input.Write({reinterpret_cast<const char*>(data), size});
  const auto file = phalanx::GgufFile::Open(input.path());
  phalanx::CheckError(file.status(), input.path());
  if (file.ok()) phalanx::CheckFile(**file);
  return 0;
}
