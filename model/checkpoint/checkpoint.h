// A model on disk: its network, its tensors, its tokenizer and its defaults, whatever the format.
#ifndef PHALANX_MODEL_CHECKPOINT_CHECKPOINT_H_
#define PHALANX_MODEL_CHECKPOINT_CHECKPOINT_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "model/files/gguf.h"
#include "model/files/json.h"
#include "model/files/safetensors.h"
#include "model/files/tensor.h"
#include "model/files/tensor_table.h"
#include "model/generation/generation_defaults.h"
#include "model/spec/spec.h"
#include "model/text/tokenizer_assets.h"

namespace phalanx {

// Thread-compatible; immutable after Open. Views stay valid as long as the object. Files must not
// shrink as long as it exists.
class Checkpoint {
 public:
  // `path` is a GGUF file, the first part of a split one, or a Hugging Face folder: config.json,
  // weights as safetensors, the tokenizer's files, perhaps generation_config.json. Errors are those
  // of OpenGgufFiles and ReadGgufSpec, or of ReadJsonFile, ReadHfConfig, ReadGenerationConfig and
  // OpenSafetensorsFolder; INVALID_ARGUMENT for a file inside of such a folder; NOT_FOUND, saying
  // what a model is, for a folder without config.json and for an empty path.
  static absl::StatusOr<std::unique_ptr<Checkpoint>> Open(const std::string& path);
  Checkpoint(const Checkpoint&) = delete;
  Checkpoint& operator=(const Checkpoint&) = delete;

  const std::string& path() const { return path_; }
  const ModelSpec& spec() const { return spec_; }
  // What the files themselves call the model: general.name, or _name_or_path. May be empty, and
  // converters and trainers write anything there, so it is good for hints only.
  const std::string& stored_name() const { return stored_name_; }
  // Tells whether two processes serve the same network with the same tokenizer: 16 hexadecimal
  // digits, see model/checkpoint/fingerprint.h. For a folder it covers the headers of the weights
  // and all other files that are read.
  const std::string& fingerprint() const { return fingerprint_; }
  // The data of all files in file order, for model/checkpoint/weights_digest.h.
  std::vector<absl::Span<const std::byte>> weight_data() const;
  const GenerationDefaults& generation_defaults() const { return generation_defaults_; }

  // Errors are those of ReadTokenizerAssets, and DATA_LOSS if a configuration names an eos id
  // beyond the vocabulary. Eos ids are those of all places that name one. They are control tokens
  // unless they are ordinary text (model/text/turn_ends.h).
  absl::StatusOr<TokenizerAssets> ReadTokenizer() const;

  // The tensors of all files, in file order.
  absl::Span<const TensorView> tensors() const { return tensors_.tensors(); }
  // The tensor of that name; null if there is none.
  const TensorView* FindTensor(absl::string_view name) const { return tensors_.Find(name); }

  // Tells the kernel that this process does not need the pages of the mappings any more: to be
  // called when weights have been copied out. Views stay valid.
  void DropPages() const;

 private:
  explicit Checkpoint(std::string path) : path_(std::move(path)) {}
  absl::Status OpenGguf();
  absl::Status OpenFolder();
  void SettleTying();
  absl::Status ReadGenerationConfigFile(const JsonValue& config,
                                        const std::vector<int32_t>& config_eos_ids);

  const std::string path_;
  ModelSpec spec_;
  std::string stored_name_;
  std::string fingerprint_;
  GenerationDefaults generation_defaults_;
  TensorTable tensors_;
  // Empty for a Hugging Face folder.
  std::vector<std::unique_ptr<GgufFile>> gguf_files_;
  // Empty for GGUF.
  std::vector<std::unique_ptr<SafetensorsFile>> safetensors_files_;
};

}  // namespace phalanx

#endif  // PHALANX_MODEL_CHECKPOINT_CHECKPOINT_H_
