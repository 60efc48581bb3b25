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
// shrink while it lives.
class Checkpoint {
 public:
  // `path` is a GGUF file, the first part of a split one, or a Hugging Face folder: config.json,
  // weights as safetensors, the tokenizer's files, perhaps generation_config.json. The errors of
  // OpenGgufFiles and ReadGgufSpec, or of ReadJsonFile, ReadHfConfig, ReadGenerationConfig and
  // OpenSafetensorsFolder; INVALID_ARGUMENT for a file inside such a folder; NOT_FOUND, saying what
  // a model is, for a folder without config.json and for an empty path.
  static absl::StatusOr<std::unique_ptr<Checkpoint>> Open(const std::string& path);
  Checkpoint(const Checkpoint&) = delete;
  Checkpoint& operator=(const Checkpoint&) = delete;

  const std::string& path() const { return path_; }
  const ModelSpec& spec() const { return spec_; }
  // What the files themselves call the model: general.name, or _name_or_path. Perhaps empty, and
  // converters and trainers put anything there: for hints only.
  const std::string& stored_name() const { return stored_name_; }
  // Tells whether two processes serve the same network with the same tokenizer: 16 hexadecimal
  // digits, see model/checkpoint/fingerprint.h. Of a folder, over the headers of its weights and
  // all of its other files that are read.
  const std::string& fingerprint() const { return fingerprint_; }
  // The data of all files in file order, for model/checkpoint/weights_digest.h.
  std::vector<absl::Span<const std::byte>> weight_data() const;
  const GenerationDefaults& generation_defaults() const { return generation_defaults_; }

  // The errors of ReadTokenizerAssets; DATA_LOSS if a configuration names an eos id beyond the
  // vocabulary. Eos ids are the union of all places that name one, and control tokens unless they
  // are ordinary text (model/text/turn_ends.h).
  absl::StatusOr<TokenizerAssets> ReadTokenizer() const;

  // Of all files, in file order.
  absl::Span<const TensorView> tensors() const { return tensors_.tensors(); }
  // Null without it.
  const TensorView* FindTensor(absl::string_view name) const { return tensors_.Find(name); }

  // Tells the kernel that pages of the mappings are no longer needed by this process: to be called
  // after weights were copied out. Views stay valid.
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
