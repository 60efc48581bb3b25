#include "model/checkpoint/checkpoint.h"

#include <sys/stat.h>

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "model/checkpoint/fingerprint.h"
#include "model/checkpoint/tensor_names.h"
#include "model/files/gguf_split.h"
#include "model/files/json.h"
#include "model/files/mapped_file.h"
#include "model/spec/gguf_spec.h"
#include "model/spec/hf_config.h"
#include "model/spec/model_name.h"
#include "model/text/tokenizer_assets_gguf.h"
#include "model/text/tokenizer_assets_hf.h"
#include "model/text/turn_ends.h"

namespace phalanx {
namespace {

constexpr absl::string_view kConfig = "config.json";
constexpr absl::string_view kGenerationConfig = "generation_config.json";
// Files that a Hugging Face folder may have beside its weights and that change answers.
constexpr absl::string_view kSmallFiles[] = {kConfig,
                                             kGenerationConfig,
                                             "tokenizer.json",
                                             "tokenizer_config.json",
                                             "special_tokens_map.json",
                                             "chat_template.jinja"};
constexpr absl::string_view kFolderEndings[] = {".safetensors", ".json", ".jinja", ".bin", ".pt"};

bool IsFolder(const std::string& path) {
  struct stat info;
  return stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

absl::Status RefuseFileOfFolder(const std::string& path) {
  for (const absl::string_view ending : kFolderEndings) {
    if (absl::EndsWith(path, ending)) {
      return absl::InvalidArgumentError(absl::StrCat(
          path, ": a model is a GGUF file or a Hugging Face folder; open the folder of this file"));
    }
  }
  return absl::OkStatus();
}

std::vector<int32_t> Union(std::vector<int32_t> ids, const std::vector<int32_t>& others) {
  ids.insert(ids.end(), others.begin(), others.end());
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return ids;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Checkpoint>> Checkpoint::Open(const std::string& path) {
  if (path.empty()) return absl::NotFoundError("the path of the model is empty");
  std::unique_ptr<Checkpoint> checkpoint(new Checkpoint(path));
  if (IsFolder(path)) {
    RETURN_IF_ERROR(checkpoint->OpenFolder());
  } else {
    RETURN_IF_ERROR(RefuseFileOfFolder(path));
    RETURN_IF_ERROR(checkpoint->OpenGguf());
  }
  return checkpoint;
}

absl::Status Checkpoint::OpenGguf() {
  ASSIGN_OR_RETURN(gguf_files_, OpenGgufFiles(path_));
  Fingerprint fingerprint;
  for (const std::unique_ptr<GgufFile>& file : gguf_files_) {
    RETURN_IF_ERROR(tensors_.Add(file->path(), file->tensors()));
    fingerprint.AddFile(file->header(), file->file_bytes());
  }
  ASSIGN_OR_RETURN(spec_, ReadGgufSpec(*gguf_files_[0], tensors_));
  SettleTying();
  fingerprint_ = fingerprint.Hex();
  const absl::StatusOr<absl::string_view> name = gguf_files_[0]->GetString("general.name");
  if (name.ok()) stored_name_ = std::string(*name);
  generation_defaults_ = ReadGenerationDefaults(*gguf_files_[0]);
  return absl::OkStatus();
}

absl::Status Checkpoint::OpenFolder() {
  const std::string config_path = absl::StrCat(path_, "/", kConfig);
  const absl::StatusOr<JsonValue> config_json = ReadJsonFile(config_path);
  if (absl::IsNotFound(config_json.status())) {
    return absl::NotFoundError(absl::StrCat(
        path_,
        ": there is no config.json in this folder. A model is a folder as Hugging Face "
        "publishes it, or the path of a GGUF file itself"));
  }
  RETURN_IF_ERROR(config_json.status());
  const JsonValue& json = *config_json;
  ASSIGN_OR_RETURN(HfConfig config, ReadHfConfig(json, config_path, FolderModelName(path_)));
  spec_ = std::move(config.spec);
  const JsonValue* const name = json.Find("_name_or_path");
  if (name != nullptr && name->AsString() != nullptr) stored_name_ = *name->AsString();
  RETURN_IF_ERROR(ReadGenerationConfigFile(json, config.eos_token_ids));

  ASSIGN_OR_RETURN(safetensors_files_, OpenSafetensorsFolder(path_));
  Fingerprint fingerprint;
  for (const std::unique_ptr<SafetensorsFile>& file : safetensors_files_) {
    RETURN_IF_ERROR(tensors_.Add(file->path(), file->tensors()));
    fingerprint.AddFile(file->header(), file->file_bytes());
  }
  SettleTying();
  std::vector<std::string> small_files(std::begin(kSmallFiles), std::end(kSmallFiles));
  for (std::string& file : NamedChatTemplateFiles(path_)) small_files.push_back(std::move(file));
  for (const std::string& name : small_files) {
    const auto file = MappedFile::Open(absl::StrCat(path_, "/", name));
    if (absl::IsNotFound(file.status())) continue;
    RETURN_IF_ERROR(file.status());
    // The name too, since the same text means something else in another file.
    fingerprint.AddFile({reinterpret_cast<const std::byte*>(name.data()), name.size()}, 0);
    fingerprint.AddFile((*file)->bytes(), (*file)->bytes().size());
  }
  fingerprint_ = fingerprint.Hex();
  return absl::OkStatus();
}

absl::Status Checkpoint::ReadGenerationConfigFile(const JsonValue& config,
                                                  const std::vector<int32_t>& config_eos_ids) {
  const std::string path = absl::StrCat(path_, "/", kGenerationConfig);
  const absl::StatusOr<JsonValue> json = ReadJsonFile(path);
  if (absl::IsNotFound(json.status())) {
    ASSIGN_OR_RETURN(generation_defaults_,
                     ReadGenerationKeysOfConfig(config, absl::StrCat(path_, "/", kConfig)));
  } else {
    RETURN_IF_ERROR(json.status());
    ASSIGN_OR_RETURN(generation_defaults_, ReadGenerationConfig(*json, path));
  }
  generation_defaults_.eos_token_ids =
      Union(std::move(generation_defaults_.eos_token_ids), config_eos_ids);
  return absl::OkStatus();
}

// Decides, as transformers does, whether the embedding is the output matrix too. What the
// configuration says counts only where the files have no output matrix. If they have one, it counts
// whether that is the embedding again.
void Checkpoint::SettleTying() {
  const NetworkNames names = NamesOfNetwork(spec_.tensor_naming);
  const TensorView* const output = tensors_.Find(names.output);
  const TensorView* const embedding = tensors_.Find(names.embedding);
  if (output == nullptr || embedding == nullptr) return;
  spec_.tied_embeddings = output->type == embedding->type && output->rows == embedding->rows &&
                          output->cols == embedding->cols && output->data == embedding->data;
  // The comparison has read both.
  DropPages();
}

absl::StatusOr<TokenizerAssets> Checkpoint::ReadTokenizer() const {
  absl::StatusOr<TokenizerAssets> read = gguf_files_.empty()
                                             ? ReadTokenizerAssets(path_, spec_.vocab)
                                             : ReadTokenizerAssets(*gguf_files_[0]);
  RETURN_IF_ERROR(read.status());
  TokenizerAssets& assets = *read;
  const std::vector<int32_t>& eos_ids = generation_defaults_.eos_token_ids;
  if (!eos_ids.empty() && eos_ids.back() >= spec_.vocab) {
    return absl::DataLossError(absl::StrCat(path_, ": eos_token_id: ", eos_ids.back(),
                                            ", where the vocabulary has ", spec_.vocab));
  }
  assets.eos_token_ids = Union(std::move(assets.eos_token_ids), eos_ids);
  for (const int32_t id : assets.eos_token_ids) {
    // A vocabulary in tokenizer.json may be shorter than the model's.
    if (static_cast<size_t>(id) < assets.token_kinds.size()) PromoteToControl(id, assets);
  }
  return read;
}

std::vector<absl::Span<const std::byte>> Checkpoint::weight_data() const {
  std::vector<absl::Span<const std::byte>> data;
  for (const std::unique_ptr<GgufFile>& file : gguf_files_) data.push_back(file->data());
  for (const std::unique_ptr<SafetensorsFile>& file : safetensors_files_) {
    data.push_back(file->data());
  }
  return data;
}

void Checkpoint::DropPages() const {
  for (const std::unique_ptr<GgufFile>& file : gguf_files_) file->DropPages();
  for (const std::unique_ptr<SafetensorsFile>& file : safetensors_files_) file->DropPages();
}

}  // namespace phalanx
