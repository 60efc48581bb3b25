#include "model/checkpoint.h"

#include "base/status.h"
#include "model/fingerprint.h"

namespace phalanx {

absl::StatusOr<std::unique_ptr<Checkpoint>> Checkpoint::Open(const std::string& path) {
  std::unique_ptr<Checkpoint> checkpoint(new Checkpoint(path));
  ASSIGN_OR_RETURN(checkpoint->gguf_, GgufFile::Open(path));
  ASSIGN_OR_RETURN(checkpoint->spec_, ReadModelSpec(*checkpoint->gguf_));
  checkpoint->fingerprint_ = ModelFingerprint(*checkpoint->gguf_);
  checkpoint->generation_defaults_ = ReadGenerationDefaults(*checkpoint->gguf_);
  return checkpoint;
}

absl::StatusOr<TokenizerAssets> Checkpoint::ReadTokenizer() const {
  return ReadTokenizerAssets(*gguf_);
}

absl::Span<const TensorView> Checkpoint::tensors() const { return gguf_->tensors(); }

const TensorView* Checkpoint::FindTensor(absl::string_view name) const {
  return gguf_->FindTensor(name);
}

void Checkpoint::DropPages() const { gguf_->DropPages(); }

}  // namespace phalanx
