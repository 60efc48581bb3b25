// Reads safetensors files by memory map.
//
// Format: huggingface/safetensors, README.md and safetensors/src/tensor.rs. The file may come from
// anybody: Open checks every count, shape, offset and size against the file before it allocates or
// points anywhere.
#ifndef PHALANX_MODEL_FILES_SAFETENSORS_H_
#define PHALANX_MODEL_FILES_SAFETENSORS_H_

#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/files/mapped_file.h"
#include "model/files/tensor.h"

namespace phalanx {

// Thread-compatible; immutable after Open. Views stay valid as long as the object.
class SafetensorsFile {
 public:
  // NOT_FOUND, PERMISSION_DENIED or UNAVAILABLE if the file cannot be read; DATA_LOSS if it is not
  // a safetensors file, is truncated or breaks a rule of the format: tensors must fill the data
  // without holes or overlap. UNIMPLEMENTED for what the format allows but is not read here:
  // elements that are not F32, F16 or BF16, tensors of more than two dimensions or without
  // elements, weights laid out by another framework than PyTorch. Messages start with the path and
  // name the tensor. The file must not shrink afterwards.
  static absl::StatusOr<std::unique_ptr<SafetensorsFile>> Open(const std::string& path);

  const std::string& path() const { return path_; }

  // In the order of their data.
  absl::Span<const TensorView> tensors() const { return tensors_; }

  // The bytes before the tensor data.
  absl::Span<const std::byte> header() const { return header_; }
  // The bytes after header().
  absl::Span<const std::byte> data() const { return map_->bytes().subspan(header_.size()); }
  // Size of the whole file.
  size_t file_bytes() const { return map_->bytes().size(); }

  // See MappedFile::DropPages.
  void DropPages() const { map_->DropPages(); }

 private:
  friend class SafetensorsParser;
  SafetensorsFile(std::string path, std::unique_ptr<MappedFile> map)
      : path_(std::move(path)), map_(std::move(map)) {}

  const std::string path_;
  const std::unique_ptr<MappedFile> map_;
  absl::Span<const std::byte> header_;
  std::vector<TensorView> tensors_;
};

// Opens the weights in `folder`: model.safetensors or, if there is none, the files that
// model.safetensors.index.json lists, in order of their names. Besides the errors of
// SafetensorsFile::Open: NOT_FOUND if neither is there; DATA_LOSS if the index is broken, names
// files outside of the folder, or disagrees with the files about which tensor is where.
absl::StatusOr<std::vector<std::unique_ptr<SafetensorsFile>>> OpenSafetensorsFolder(
    const std::string& folder);

}  // namespace phalanx

#endif  // PHALANX_MODEL_FILES_SAFETENSORS_H_
