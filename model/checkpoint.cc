#include "model/checkpoint.h"

#include "base/status.h"
#include "model/fingerprint.h"
#include "model/gguf_spec.h"
#include "model/gguf_split.h"

namespace phalanx {

absl::StatusOr<std::unique_ptr<Checkpoint>> Checkpoint::Open(const std::string& path) {
  std::unique_ptr<Checkpoint> checkpoint(new Checkpoint(path));
  ASSIGN_OR_RETURN(checkpoint->gguf_files_, OpenGgufFiles(path));
  Fingerprint fingerprint;
  for (const std::unique_ptr<GgufFile>& file : checkpoint->gguf_files_) {
    RETURN_IF_ERROR(checkpoint->tensors_.Add(file->path(), file->tensors()));
    fingerprint.AddFile(file->header(), file->file_bytes());
  }
  const GgufFile& first = *checkpoint->gguf_files_[0];
  ASSIGN_OR_RETURN(checkpoint->spec_, ReadGgufSpec(first, checkpoint->tensors_));
  checkpoint->fingerprint_ = fingerprint.Hex();
  checkpoint->generation_defaults_ = ReadGenerationDefaults(first);
  return checkpoint;
}

absl::StatusOr<TokenizerAssets> Checkpoint::ReadTokenizer() const {
  return ReadTokenizerAssets(*gguf_files_[0]);
}

void Checkpoint::DropPages() const {
  for (const std::unique_ptr<GgufFile>& file : gguf_files_) file->DropPages();
}

}  // namespace phalanx
