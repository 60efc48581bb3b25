// The input as a folder's tokenizer.json, and as the tokenizer_config.json beside a sound one.

#include <cstddef>
#include <cstdint>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/text/tokenizer_assets.h"
#include "model/text/tokenizer_assets_hf.h"
#include "tests/fuzz/input_file.h"
#include "tests/fuzz/properties.h"

namespace phalanx {
namespace {

constexpr int kVocab = 512;
constexpr absl::string_view kTokenizer = R"({
  "added_tokens": [{"id": 3, "content": "<s>", "special": true}],
  "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false},
  "decoder": {"type": "ByteLevel"},
  "model": {"type": "BPE", "vocab": {"t": 0, "h": 1, "th": 2}, "merges": ["t h"]}})";

void CheckFolder(const InputFolder& folder) {
  absl::StatusOr<TokenizerAssets> assets = ReadTokenizerAssets(folder.path(), kVocab);
  CheckError(assets.status(), folder.path());
  if (assets.ok()) CheckTokenizer(*std::move(assets));
}

// A folder with the input under the name `name`.
class Folder {
 public:
  explicit Folder(absl::string_view name) { folder_.Link(name, input_); }

  // `file` outlives this.
  void Link(absl::string_view name, const InputFile& file) { folder_.Link(name, file); }

  void Check(absl::string_view input) {
    input_.Write(input);
    CheckFolder(folder_);
  }

 private:
  InputFile input_;
  InputFolder folder_;
};

}  // namespace
}  // namespace phalanx

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static phalanx::InputFile sound_tokenizer;
  static phalanx::Folder as_tokenizer("tokenizer.json");
  static phalanx::Folder as_config("tokenizer_config.json");
  static const bool ready = [] {
    sound_tokenizer.Write(phalanx::kTokenizer);
    as_config.Link("tokenizer.json", sound_tokenizer);
    return true;
  }();
  const absl::string_view input(reinterpret_cast<const char*>(data), size);
  as_tokenizer.Check(input);
  if (ready) as_config.Check(input);
  return 0;
}
